"""Where weights come from: the cache, a download, a Keras file, or a seeded random start.

Everything here is arrays and files: no TensorFlow, no Keras, and nothing read is ever executed.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from vgg_widget.choices import unknown_choice
from vgg_widget.layers import vgg19_kernel_shapes
from vgg_widget.provenance import Provenance

IMAGENET_NAME = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
IMAGENET_MD5 = "md5:253f8cb515780f3b799900260a226db6"
IMAGENET_SIZE = 80_134_624
IMAGENET_BASE = "https://storage.googleapis.com/tensorflow/keras-applications/vgg19/"
ADDRESS_VARIABLE = "VGG_WIDGET_WEIGHTS_URL"

CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0
"""How long to wait for a connection, and then for each next piece of the file."""

FALLBACK = "random"
"""The name that ``"auto"`` stands for when the ImageNet weights cannot be had."""

failed_downloads: dict[str, str] = {}
"""Address to message of each download that failed for ``"auto"`` in this process: a classroom
without internet waits once, not at every cell. Clear it to try again; the others always try."""
_auto_lock = threading.Lock()

_Pair: TypeAlias = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
Arrays: TypeAlias = dict[str, _Pair]
"""Convolution name to kernel (3, 3, in, out) and bias (out,), both float32, in network order."""


class WeightsError(Exception):
    """Weights cannot be had: one sentence that says which, why, and what to do."""


@dataclass(frozen=True, eq=False)
class ResolvedWeights:
    """The numbers of a VGG19 without its top (read-only arrays), and where they came from.

    `preprocessing` is what they expect of the input: ``"caffe"`` is BGR minus ImageNet's mean.
    """

    arrays: Arrays = field(repr=False)
    provenance: Provenance
    preprocessing: str = "caffe"


def resolve(weights: str | os.PathLike[str]) -> ResolvedWeights:
    """Turn what a person passes as ``weights`` into arrays.

    Parameters
    ----------
    weights : str or path-like
        ``"auto"`` (ImageNet from the cache or by download, else `FALLBACK` with a message),
        ``"imagenet"``, ``"random"``, or the path of a Keras ``.weights.h5`` or ``.h5`` file.

    Returns
    -------
    ResolvedWeights
        Arrays, provenance and preprocessing.

    Raises
    ------
    WeightsError
        If the name is not known, the file is not the weights of a VGG19, or ``"imagenet"`` is
        neither cached nor to be downloaded.
    """
    if isinstance(weights, str) and weights in _NAMED:
        return _NAMED[weights]()
    if not isinstance(weights, str | os.PathLike) or not isinstance(os.fspath(weights), str):
        raise WeightsError(
            f"weights {weights!r} is neither a name nor a path: choose "
            f"{', '.join(map(repr, _NAMED))} or the path of a Keras .h5 file."
        )
    # A bare word that is no file is a mistyped name; anything else is a path.
    if isinstance(weights, str) and not (re.search(r"[./\\]", weights) or Path(weights).is_file()):
        raise WeightsError(unknown_choice("weights", weights, [*_NAMED, "path/to/name.weights.h5"]))
    path = Path(os.path.expanduser(weights)).absolute()  # noqa: PTH111 - Path's own can raise.
    if path.suffix.lower() in {".pth", ".pt", ".safetensors"}:
        raise WeightsError(f"weights {str(path)!r}: only Keras .h5 files are read so far.")
    arrays = _read_keras(path)
    label, digest = f"weights file {path.name}", _digest(path, "sha256")
    return ResolvedWeights(arrays, Provenance("file", label, str(path), digest))


def random_arrays(seed: int = 0) -> Arrays:
    """Return He-normal kernels and zero biases: a network that has learned nothing.

    Parameters
    ----------
    seed : int
        Seed of `numpy.random.default_rng`; the same numbers each time on one machine.

    Returns
    -------
    Arrays
        Kernels with standard deviation sqrt(2 / fan_in), fan_in = 9 * channels in, after He et
        al., "Delving deep into rectifiers" (2015, arXiv:1502.01852), equation 10.
    """
    generator = np.random.default_rng(seed)
    arrays: Arrays = {}
    for name, shape in vgg19_kernel_shapes().items():
        kernel = generator.standard_normal(shape, dtype=np.float32)
        kernel *= np.float32(np.sqrt(2 / np.prod(shape[:3])))
        bias = np.zeros(shape[-1:], np.float32)
        kernel.flags.writeable = bias.flags.writeable = False
        arrays[name] = (kernel, bias)
    return arrays


def keras_folder() -> Path:
    """Return the folder where Keras keeps downloaded models, so that each finds the other's."""
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "models"


def imagenet_locations() -> tuple[Path, ...]:
    """Return where the ImageNet file may lie: in Keras's folder, then in our own cache."""
    import pooch

    return keras_folder() / IMAGENET_NAME, Path(pooch.os_cache("vgg_widget")) / IMAGENET_NAME


def imagenet_address() -> str:
    """Return the ImageNet file's URL; `WeightsError` if the environment names no usable mirror."""
    base = os.environ.get(ADDRESS_VARIABLE) or IMAGENET_BASE
    with suppress(ValueError):  # urlsplit refuses some; they are refused below.
        parts = urlsplit(base)
        # The address ends up in messages and saved notebooks, where no password belongs.
        if parts.scheme in {"http", "https"} and parts.hostname and "@" not in parts.netloc:
            return f"{base.rstrip('/')}/{IMAGENET_NAME}"
    raise WeightsError(
        f"the environment variable {ADDRESS_VARIABLE} is not the http or https address, without a "
        f"user name, of a folder that holds {IMAGENET_NAME}: correct it or unset it."
    )


def find_imagenet() -> Path | None:
    """Return the first cached ImageNet file of the right size, or None; its md5 is not checked."""
    return next(_of_right_size(), None)


def download_imagenet(*, progress: bool = True, known_hash: str = IMAGENET_MD5) -> Path:
    """Fetch the ImageNet file, unless a good copy is cached.

    The file takes its name only once it is whole and its hash is right; if anything fails, what
    was there before stays.

    Parameters
    ----------
    progress : bool
        Whether to show a bar: a widget in a notebook, text in a terminal.
    known_hash : str
        ``"algorithm:hex"`` that the file must have.

    Returns
    -------
    Path
        The file, in Keras's folder, or in our own cache where that cannot be written.

    Raises
    ------
    WeightsError
        If it could not be fetched; the sentence holds the address and the folder.
    """
    import pooch
    from tqdm.auto import tqdm

    for path in imagenet_locations():
        if _digest(path, known_hash.partition(":")[0]) == known_hash:
            return path
    url = imagenet_address()
    folder = _writable_folder(url)
    title = "VGG19 ImageNet weights"
    # Without its total from the start the notebook's bar has no width; without the delay an empty
    # bar would stay where nothing could be fetched.
    look = {"total": IMAGENET_SIZE, "unit": "B", "unit_scale": True, "delay": 0.1}
    bar = tqdm(desc=title, disable=not progress, **look)
    opened: list[Any] = []  # pooch leaves a failed answer's connection open.
    hooks = {"response": lambda response, **_: opened.append(response)}
    http = pooch.HTTPDownloader(bar, 1 << 16, timeout=(CONNECT_SECONDS, READ_SECONDS), hooks=hooks)

    def fetch(address: str, output: str, keeper: object) -> None:
        http(address, output, keeper)
        with Path(output).open("rb") as file:
            if file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
                reason = "a web page came instead of the file (a network's sign-in page?)"
                raise _not_downloaded(reason, url, folder)

    logger, level = pooch.get_logger(), pooch.get_logger().level
    logger.setLevel(logging.WARNING)
    try:
        with bar:
            path = Path(pooch.retrieve(url, known_hash, IMAGENET_NAME, folder, downloader=fetch))
    except (OSError, ValueError) as error:  # Those of requests are OSErrors.
        raise _not_downloaded(_why_not(error), url, folder) from error
    finally:
        logger.setLevel(level)
        for response in opened:
            response.close()
    with suppress(OSError):
        path.chmod(0o644)  # It was made as a private file, but a cache may be shared.
    failed_downloads.pop(url, None)
    return path


def _auto() -> ResolvedWeights:
    with _auto_lock:
        try:
            path = _verified_imagenet() or _download_once()
        except WeightsError as error:
            resolved, damaged = _NAMED[FALLBACK](), find_imagenet()
            seen = f"the cached file {damaged} is damaged, and " if damaged else ""
            message = f"These are {resolved.provenance.label}, NOT ImageNet weights: {seen}{error}"
            return replace(resolved, provenance=replace(resolved.provenance, message=message))
    return _from_imagenet(path)


def _download_once() -> Path:
    url = imagenet_address()
    if url in failed_downloads:
        raise WeightsError(failed_downloads[url])
    try:
        return download_imagenet(known_hash=IMAGENET_MD5)
    except WeightsError as error:
        failed_downloads[url] = str(error)
        raise


def _imagenet() -> ResolvedWeights:
    path, found = _verified_imagenet(), find_imagenet()
    if path is None and found is not None:
        raise WeightsError(
            f"weights 'imagenet': the file {found} is damaged (its hash is not {IMAGENET_MD5}): "
            "run `vgg-widget weights --download` to replace it."
        )
    return _from_imagenet(path or download_imagenet(known_hash=IMAGENET_MD5))


def _random() -> ResolvedWeights:
    arrays, digest = random_arrays(), hashlib.sha256()
    for array in (array for pair in arrays.values() for array in pair):
        digest.update(array.data)
    message = "These weights are random: the network is untrained."
    hexadecimal = f"sha256:{digest.hexdigest()}"
    provenance = Provenance("random", "random weights (seed 0)", None, hexadecimal, message)
    return ResolvedWeights(arrays, provenance)


_NAMED = {"auto": _auto, "imagenet": _imagenet, "random": _random}


def _from_imagenet(path: Path) -> ResolvedWeights:
    provenance = Provenance("imagenet", "ImageNet weights", str(path), IMAGENET_MD5)
    return ResolvedWeights(_read_keras(path), provenance)


def _of_right_size() -> Iterator[Path]:
    for path in imagenet_locations():
        with suppress(OSError):
            if path.is_file() and path.stat().st_size == IMAGENET_SIZE:
                yield path


def _verified_imagenet() -> Path | None:
    return next((path for path in _of_right_size() if _digest(path, "md5") == IMAGENET_MD5), None)


def _digest(path: Path, algorithm: str) -> str:
    """Return ``"algorithm:hex"`` of a file, or nothing where it cannot be read."""
    with suppress(OSError), path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
        return f"{algorithm}:{digest.hexdigest()}"
    return ""


def _writable_folder(url: str) -> Path:
    refusals = []
    for path in imagenet_locations():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path.parent):
                return path.parent
        except OSError as error:
            refusals.append(f"{path.parent} ({error.strerror})")
    reason = f"{' and '.join(refusals)} cannot be written (KERAS_HOME can name another folder)"
    raise _not_downloaded(reason, url, keras_folder())


def _not_downloaded(reason: str, url: str, folder: Path) -> WeightsError:
    return WeightsError(
        f"the ImageNet weights are not here and could not be downloaded because {reason}; to try "
        "again run `vgg-widget weights --download`, or put the file "
        f"{IMAGENET_NAME} from {url} into the folder {folder}."
    )


def _why_not(error: Exception) -> str:
    from requests import exceptions as http
    from urllib3.exceptions import ReadTimeoutError

    if isinstance(error, http.HTTPError):
        return f"the server answered {str(error).partition(' for url')[0]}"
    # A time-out amid the file comes wrapped in a ConnectionError.
    if isinstance(error, http.Timeout) or isinstance(next(iter(error.args), 0), ReadTimeoutError):
        return "the server did not answer in time"
    for kind, reason in (
        (http.SSLError, "no secure connection could be made (a network's sign-in page?)"),
        (http.ChunkedEncodingError, "the connection broke half-way"),
        (http.ConnectionError, "there is no connection to the server"),
        (http.RequestException, f"the server cannot be used ({type(error).__name__})"),
        (ValueError, "the file that came is not the right one (its hash differs)"),
    ):
        if isinstance(error, kind):
            return reason
    full = isinstance(error, OSError) and error.errno == errno.ENOSPC
    return "the disk is full" if full else f"the file could not be written ({error})"


_NUMBERED = re.compile(r"(?:.*/)?(?:layers|_layer_checkpoint_dependencies)/conv2d_?(\d*)/vars/.*")


def _read_keras(path: Path) -> Arrays:
    """Read the convolutions of a Keras file of any layout, in network order."""
    import h5py

    asked, shapes = f"weights {str(path)!r}", vgg19_kernel_shapes()
    found: dict[str, list[Any]] = {}
    numbered: dict[int, list[Any]] = {}

    def visit(place: str, item: Any) -> None:
        parents = place.split("/")[:-1]
        if not isinstance(item, h5py.Dataset) or parents[:1] in (["optimizer_weights"], []):
            return
        # Keras 3 numbers its groups and keeps the layer's own name as an attribute; its first
        # versions kept the number only; before that the name is in the path.
        given = item.parent.attrs.get("name")
        name = next((part for part in (str(given), *parents) if part in shapes), None)
        number = _NUMBERED.fullmatch(place)
        if name is not None:
            found.setdefault(name, []).append(item)
        elif number is not None and given is None:
            numbered.setdefault(int(number[1] or 0), []).append(item)

    try:
        with path.open("rb") as stream:
            signature = stream.read(8)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", error)
        raise WeightsError(f"{asked} cannot be read ({why}): check the path.") from error
    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)  # This follows no link out of the file.
            in_order = (numbered[key] for key in sorted(numbered))
            layers = found or dict(zip(shapes, in_order, strict=False))
            return {name: _pair(asked, name, layers.get(name), shapes[name]) for name in shapes}
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        broken = "is cut short or damaged" if signature == b"\x89HDF\r\n\x1a\n" else "is not HDF5"
        problem = broken if signature else "is empty"
        raise WeightsError(f"{asked} {problem}: choose a whole Keras .h5 file.") from error


def _pair(asked: str, name: str, items: list[Any] | None, shape: tuple[int, ...]) -> _Pair:
    """Read a layer's kernel and bias, checked first: no file can fill the memory."""
    layer, advice = f"{asked}: layer {name!r}", "choose a file with the weights of a VGG19."
    if items is None or len(items) != 2:
        count = f"has {len(items)} arrays, not a kernel and a bias" if items else "is missing"
        raise WeightsError(f"{layer} {count}: {advice}")
    # Files of every age name the two differently, but a kernel has more axes than a bias.
    kernel, bias = sorted(items, key=lambda item: -item.ndim)
    arrays = []
    for part, item, wanted in (("kernel", kernel, shape), ("bias", bias, shape[-1:])):
        if item.shape != wanted:
            raise WeightsError(
                f"{layer} has a {part} of shape {item.shape} where VGG19 has {wanted}: {advice}"
            )
        if item.dtype.kind != "f" or item.external or item.is_virtual:
            raise WeightsError(f"{layer} has a {part} that is no array of floats: {advice}")
        array = item[()].astype(np.float32, copy=False)
        if not np.isfinite(array).all():
            raise WeightsError(f"{layer} has a {part} with NaN or infinite values: {advice}")
        array.flags.writeable = False
        arrays.append(array)
    return arrays[0], arrays[1]
