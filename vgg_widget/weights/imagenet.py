"""The ImageNet weights: where their file may lie, and how it is fetched."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vgg_widget.provenance import Provenance
from vgg_widget.weights.arrays import WeightsError

IMAGENET_NAME = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
IMAGENET_MD5 = "md5:253f8cb515780f3b799900260a226db6"
IMAGENET_SIZE = 80_134_624
IMAGENET_BASE = "https://storage.googleapis.com/tensorflow/keras-applications/vgg19/"
ADDRESS_VARIABLE = "VGG_WIDGET_WEIGHTS_URL"

CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0
"""How long to wait for a connection, and then for each next piece of the file."""

BAR_SECONDS = 0.1
"""When a bar appears: at once, an empty one would stay where nothing could be fetched."""

failed_downloads: dict[str, str] = {}
"""Address to message of each download that failed for ``"auto"`` in this process: a classroom
without internet waits once, not at every cell. Clear it to try again; the others always try."""


def keras_folder() -> Path:
    """Return the folder where Keras keeps downloaded models, so that each finds the other's."""
    home = os.environ.get("KERAS_HOME") or "~/.keras"
    return Path(os.path.expanduser(home)) / "models"  # noqa: PTH111 - Path's own can raise.


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


def download_imagenet(*, progress: bool = True, known_hash: str | None = None) -> Path:
    """Fetch the ImageNet file, unless a good copy is cached.

    The file takes its name only once it is whole and its hash is right; if anything fails, what
    was there before stays.

    Parameters
    ----------
    progress : bool
        Whether to show a bar: a widget in a notebook, text in a terminal.
    known_hash : str, optional
        ``"algorithm:hex"`` that the file must have; by default `IMAGENET_MD5`.

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

    known_hash = known_hash or IMAGENET_MD5
    for path in imagenet_locations():
        if file_digest(path, known_hash.partition(":")[0]) == known_hash:
            return path
    url = imagenet_address()
    folder = _writable_folder(url)
    title = "VGG19 ImageNet weights"
    # Without its total from the start the notebook's bar has no width.
    look = {"total": IMAGENET_SIZE, "unit": "B", "unit_scale": True, "delay": BAR_SECONDS}
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


def download_once() -> Path:
    """Fetch the ImageNet file for ``"auto"``, unless that has failed in this process already.

    Raises
    ------
    WeightsError
        As `download_imagenet`, now or the last time.
    """
    url = imagenet_address()
    if url in failed_downloads:
        raise WeightsError(failed_downloads[url])
    try:
        return download_imagenet()
    except WeightsError as error:
        failed_downloads[url] = str(error)
        raise


@dataclass(frozen=True, slots=True)
class CachedFile:
    """A place where the ImageNet file may lie, and what lies there: `problem` is "" if it is good.

    `size` is in bytes; None where there is no file.
    """

    path: Path
    size: int | None
    problem: str


def cached_files() -> tuple[CachedFile, ...]:
    """Return what lies in each of `imagenet_locations`, with size and md5 checked."""
    return tuple(_cached(path) for path in imagenet_locations())


def _cached(path: Path) -> CachedFile:
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except FileNotFoundError:
        return CachedFile(path, None, "not here")
    except OSError as error:
        return CachedFile(path, None, f"cannot be read ({error.strerror})")
    if size != IMAGENET_SIZE:
        return CachedFile(path, size, f"damaged: it should have {IMAGENET_SIZE:,} bytes")
    right = file_digest(path, "md5") == IMAGENET_MD5
    return CachedFile(path, size, "" if right else f"damaged: its hash is not {IMAGENET_MD5}")


def trusted_imagenet() -> Path:
    """Return the ImageNet file, fetched where it is not cached.

    Raises
    ------
    WeightsError
        If the cached one is damaged, or there is none and it cannot be fetched.
    """
    path, found = verified_imagenet(), find_imagenet()
    if path is None and found is not None:
        raise WeightsError(
            f"weights 'imagenet': the file {found} is damaged (its hash is not {IMAGENET_MD5}): "
            "run `vgg-widget weights --download` to replace it."
        )
    return path or download_imagenet()


def imagenet_provenance(path: Path) -> Provenance:
    """Return what is said of weights from a file whose hash was right."""
    return Provenance("imagenet", "ImageNet weights", str(path), IMAGENET_MD5)


def _of_right_size() -> Iterator[Path]:
    for path in imagenet_locations():
        with suppress(OSError):
            if path.is_file() and path.stat().st_size == IMAGENET_SIZE:
                yield path


def verified_imagenet() -> Path | None:
    """Return the first cached ImageNet file whose md5 is right, or None."""
    right = (path for path in _of_right_size() if file_digest(path, "md5") == IMAGENET_MD5)
    return next(right, None)


def file_digest(path: Path, algorithm: str) -> str:
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
