"""Read kernels and biases from Keras files of any version; nothing in a file is executed."""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from vgg_widget.layers import VGGS, Vgg
from vgg_widget.weights.arrays import (
    CLASSIFIER_NAMES,
    Arrays,
    Stored,
    StoredLayer,
    StoredVgg,
    WeightsError,
    advice,
    other_vgg,
)

PREPROCESSING_ATTRIBUTE = "vgg_widget_preprocessing"
"""Attribute of an exported file that names its preprocessing, if not Keras's."""

_NUMBERED = re.compile(
    r"((?:.*/)?(?:layers|_layer_checkpoint_dependencies))/conv2d_?(\d*)/vars/[^/]*"
)
_SAVE_AGAIN = "save the model with Keras again."
_LONGEST_CONFIGURATION = 10_000_000
# Number of elements in the largest chunk that h5py chooses itself.
_SMALL_CHUNK = 1 << 20
# Unexpected arrays up to this size are harmless, and Keras's own error is clearer.
_LARGE_ARRAY = 1 << 25
ZIP = b"PK\x03\x04"
"""The first bytes of a ``.keras`` file, which is a zip archive."""

INSIDE_KERAS = "model.weights.h5"
"""The member of a ``.keras`` file with the weights."""

Layers = dict[str, list[Any]]
"""A model's arrays in a file, by layer name."""


@contextmanager
def opened_keras(what: str, path: Path, vgg: Vgg) -> Iterator[StoredVgg]:
    """Open a Keras file of any layout; `what` begins error messages.

    The layers may be inside other models and beside other layers. They are found by their names in
    Keras's VGGs; if a file has none of these names, convolutions are taken in order. If a file
    holds several models, the complete VGG of the requested kind is used.
    """
    import h5py

    try:
        with _hdf5_part(what, path) as part, h5py.File(part, "r") as file:
            yield _vgg_in(what, path, file, vgg)
    except (WeightsError, MemoryError):
        raise
    except Exception as error:  # h5py and zipfile may raise any exception on damaged files.
        raise _damaged(what) from error


def _damaged(what: str) -> WeightsError:
    return WeightsError(f"{what} is cut short or damaged: choose a whole Keras file.")


def _vgg_in(what: str, path: Path, file: Any, vgg: Vgg) -> StoredVgg:
    place, convolutions = _best_match(what, file, vgg)
    models, _ = _arrays_by_model(file, CLASSIFIER_NAMES)
    # If there are several classifiers, use the one beside the convolutions.
    layers = {**(models.get(place) or _merged(models)), **convolutions}

    def layer(name: str) -> StoredLayer:
        called = f"{what}: layer {name!r}"
        return StoredLayer(called, *_pair(called, layers.get(name), advice(vgg, name)))

    message = ""
    if _scales_pixels(path, file):
        message = (
            f"Another input: the model in {path.name} scales its pixels itself, but here they are "
            "preprocessed as for ImageNet; to use the model unchanged, load it with Keras and pass "
            "it as model=."
        )
    preprocessing = str(file.attrs.get(PREPROCESSING_ATTRIBUTE, "caffe"))
    return StoredVgg(vgg, layer, preprocessing=preprocessing, message=message)


def _scales_pixels(path: Path, file: Any) -> bool:
    """Return whether the model in a file scales its pixels itself, judging by its configuration."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive, archive.open("config.json") as config:
                text = config.read(_LONGEST_CONFIGURATION).decode()
        else:
            text = str(file.attrs["model_config"])
        return scales_before_weights(steps_of_config(json.loads(text)))
    except Exception:  # The weights can be read without the configuration.
        return False


@contextmanager
def _hdf5_part(what: str, path: Path) -> Iterator[Path | BinaryIO]:
    with path.open("rb") as whole:
        if whole.read(len(ZIP)) != ZIP:
            yield path
            return
        with zipfile.ZipFile(whole) as archive:
            member = archive.getinfo(INSIDE_KERAS)
        if member.compress_type != zipfile.ZIP_STORED:
            raise WeightsError(
                f"{what} has compressed weights, which Keras does not write: {_SAVE_AGAIN}"
            )
        # The length of a member's header is not in the central directory (APPNOTE 4.3.7).
        whole.seek(member.header_offset + 26)
        lengths = whole.read(4)
        header = 30 + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
        yield io.BufferedReader(_Piece(whole, member.header_offset + header, member.file_size))


@contextmanager
def checked_keras_file(what: str, path: Path, most: int) -> Iterator[tuple[Path | BinaryIO, str]]:
    """Yield the HDF5 part of a file, and the suffix by which Keras recognises its layout.

    The file is checked first, so that Keras can read it safely: it must hold no array much larger
    than `most` numbers, and no link to another file.
    """
    import h5py

    with _hdf5_part(what, path) as part:
        try:
            with h5py.File(part, "r") as file:
                _check_arrays(what, file, most)
                old = "layer_names" in file.attrs or "model_weights" in file
        except (WeightsError, MemoryError):
            raise
        except Exception as error:  # h5py may raise any exception on damaged files.
            raise _damaged(what) from error
        if not isinstance(part, Path):
            part.seek(0)
        yield part, ".h5" if old else ".weights.h5"


def _check_arrays(what: str, file: Any, most: int) -> None:
    import h5py

    def leads_out(place: str, link: Any) -> str | None:
        return place if isinstance(link, h5py.ExternalLink) else None

    def check(place: str, item: Any) -> None:
        # Only numeric data are weights, not names.
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "fiu":
            _check_stored(f"{what}: {place!r} is an array", item)
            if item.size > max(most, _LARGE_ARRAY):
                raise WeightsError(
                    f"{what}: {place!r} is an array of {item.size:,} numbers, but the network has "
                    f"no array of more than {most:,}: {_SAVE_AGAIN}"
                )

    # The visit stops at the first link found. Raising inside the callback would hide the error.
    if (found := file.visititems_links(leads_out)) is not None:
        raise WeightsError(f"{what} links to another file at {found!r}: {_SAVE_AGAIN}")
    file.visititems(check)


class _Piece(io.RawIOBase):
    """A section of an open file, as a file, since a `.keras` file may not fit in memory."""

    def __init__(self, whole: BinaryIO, start: int, length: int) -> None:
        self._whole, self._start, self._length, self._at = whole, start, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._length)[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._whole.seek(self._start + self._at)
        left = max(0, self._length - self._at)
        count = self._whole.readinto(memoryview(buffer)[:left])  # type: ignore[attr-defined]
        self._at += count
        return int(count)


def _best_match(what: str, file: Any, vgg: Vgg) -> tuple[str, Layers]:
    """Return the location and the arrays of the model that is, or most resembles, a network."""
    names = {name: None for each in VGGS.values() for name in each.kernel_shapes()}
    named, numbered = _arrays_by_model(file, names)
    models = named or {place: _in_order(layers, vgg) for place, layers in numbered.items()}
    # The network's blocks may be separate models.
    parts = _merged(named) if named else _in_order(_concatenated(numbered), vgg)
    complete = [place for place in models if _is_whole(models[place], vgg)]
    if len(complete) > 1:
        text = " and ".join(sorted(repr(_model_name(file, place)) for place in complete))
        raise WeightsError(
            f"{what} hold {len(complete)} complete {vgg.title}s, {text}: save the weights of one "
            "of them with its save_weights."
        )
    if not complete:
        for other in VGGS.values():
            if other is not vgg and any(_is_whole(one, other) for one in (*models.values(), parts)):
                raise other_vgg(what, vgg, other)
        models = {**models, "": parts} if named or _is_whole(parts, vgg) else models
    best = max(models, key=lambda place: _count_matching_layers(models[place], vgg), default="")
    return best, models.get(best, {})


def _arrays_by_model(
    file: Any, names: Collection[str]
) -> tuple[dict[str, Layers], dict[str, list[list[Any]]]]:
    """Return each model's arrays in a file, by location: first for layers with these names.

    The second result holds numbered convolutions, in order.
    """
    import h5py

    found: defaultdict[str, Layers] = defaultdict(dict)
    numbered: defaultdict[str, dict[int, list[Any]]] = defaultdict(dict)

    def visit(place: str, item: Any) -> None:
        parents = place.split("/")[:-1]
        if not isinstance(item, h5py.Dataset) or parents[:1] in (["optimizer_weights"], []):
            return
        # Keras 3 numbers its groups and stores the layer's name as an attribute; its first versions
        # stored only the number; older versions have the name in the path.
        given = str(item.parent.attrs.get("name"))
        inside = next((number for number, part in enumerate(parents) if part in names), None)
        if given in names:
            found["/".join(parents[:-2])].setdefault(given, []).append(item)
        elif inside is not None:
            found["/".join(parents[:inside])].setdefault(parents[inside], []).append(item)
        elif number := _NUMBERED.fullmatch(place):
            numbered[number[1]].setdefault(int(number[2] or 0), []).append(item)

    file.visititems(visit)  # visititems does not follow external links.
    in_order = {
        place: [layers[number] for number in sorted(layers)] for place, layers in numbered.items()
    }
    return dict(found), in_order


def _in_order(layers: Iterable[list[Any]], vgg: Vgg) -> Layers:
    """Return the arrays of unnamed convolutions under a network's layer names, in order."""
    return dict(zip(vgg.kernel_shapes(), layers, strict=False))


def _concatenated(models: Mapping[str, list[list[Any]]]) -> list[list[Any]]:
    """Return the convolutions of several models, such as block1 and block2, as one list."""
    return [layer for place in sorted(models) for layer in models[place]]


def _merged(models: Mapping[str, Layers]) -> Layers:
    """Return the arrays of all models by layer name."""
    found: defaultdict[str, list[Any]] = defaultdict(list)
    for layers in models.values():
        for name, items in layers.items():
            found[name] += items
    return found


def _count_matching_layers(layers: Layers, vgg: Vgg) -> int:
    """Count the layers whose kernel and bias have the shapes of a network's."""
    return sum(
        {item.shape for item in layers.get(name, ())} == {shape, shape[-1:]}
        and len(layers[name]) == 2
        for name, shape in vgg.kernel_shapes().items()
    )


def _is_whole(layers: Layers, vgg: Vgg) -> bool:
    """Return whether layers are exactly those of a network."""
    return len(layers) == len(vgg.kernel_shapes()) == _count_matching_layers(layers, vgg)


def _model_name(file: Any, place: str) -> str:
    """Return the name of the model whose layers are at a location in a file."""
    own = f"{place.removesuffix('layers')}vars"
    name = file.visititems(lambda at, item: item.attrs.get("name") if at == own else None)
    return str(name or place)


def _pair(layer: str, items: list[Any] | None, advice: str) -> tuple[Stored, Stored]:
    """Return a layer's kernel and bias, which must be stored in this file."""
    if items is None or len(items) != 2:
        count = f"has {len(items)} arrays, not a kernel and a bias" if items else "is missing"
        raise WeightsError(f"{layer} {count}: {advice}")
    # Their names differ between versions, but a kernel has more axes than a bias.
    kernel, bias = sorted(items, key=lambda item: -item.ndim)
    for part, item in (("kernel", kernel), ("bias", bias)):
        _check_stored(f"{layer} has a {part}", item)
    return (
        Stored(kernel.shape, kernel.dtype, kernel.__array__),
        Stored(bias.shape, bias.dtype, bias.__array__),
    )


def _check_stored(what: str, item: Any) -> None:
    """Raise `WeightsError` for an array stored elsewhere or in chunks that would exhaust memory."""
    if item.external or item.is_virtual:
        raise WeightsError(f"{what} that is not stored in the file itself: {_SAVE_AGAIN}")
    # HDF5 decompresses a whole chunk, of up to 4 GB, to read a single number.
    if item.chunks is not None and math.prod(item.chunks) > max(item.size, _SMALL_CHUNK):
        raise WeightsError(
            f"{what} stored in chunks of {item.chunks}, larger than the array: {_SAVE_AGAIN}"
        )


def write_keras(arrays: Arrays, preprocessing: str, path: Path) -> None:
    """Write a file for ``keras.applications.VGG19(include_top=False).load_weights``."""
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs[PREPROCESSING_ATTRIBUTE] = preprocessing
        for number, (name, pair) in enumerate(arrays.items()):
            # Keras 3's numbering of layers of one class.
            group = file.create_group(f"layers/conv2d{f'_{number}' if number else ''}/vars")
            group.attrs["name"] = name
            for part, array in enumerate(pair):
                group[str(part)] = array


# A model's changes to its pixels ----------------------------------------------------------------


Step: TypeAlias = tuple[Sequence[str], bool]
"""The class of a layer and of the layers in it ("" for a class from outside Keras), and whether it
has trainable weights."""


def scales_before_weights(steps: Iterable[Step]) -> bool:
    """Return whether a model changes pixel values before its first layer with weights.

    The steps are in order. A class that may do anything, such as Lambda, counts as a change.
    """
    scales = False
    for kinds, weighted in steps:
        if weighted:
            return scales
        scales = scales or any(map(_scales, kinds))
    return False


def _scales(kind: str) -> bool:
    # Keras 3 writes "ExpandDims", Keras 2 "expand_dims" after its module.
    kind = kind.rpartition(".")[2].replace("_", "").lower()
    return not _NOT_SCALING.fullmatch(kind)


# Layers that only move, crop, cast or pool pixels, or are active only in training.
_NOT_SCALING = re.compile(
    "flip|reverse|roll|take|gather|stack|concat(enate)?|"
    "inputlayer|identity|cast|getitem|pipeline|reshape|permute|transpose|moveaxis|swapaxes"
    "|expanddims|squeeze|flatten|split|unstack|repeat|resizing|resize|upsampling2d|centercrop"
    "|cropping2d|zeropadding2d|pad|(max|average)pooling2d|clip(byvalue)?|rgbtograyscale"
    "|(spatial)?dropout(2d)?|gaussian(noise|dropout)|random.*|randaugment|augmix|cutmix|mixup"
)


def steps_of_config(config: Any) -> Iterator[Step]:
    """Yield the layers of a saved model's configuration, in order.

    Keras 2 and 3 write layers in the order in which they are called. Nested models are expanded,
    and no layer is instantiated.
    """
    layers = config["config"]
    # The first releases of Keras 2 wrote a bare list.
    for layer in layers if isinstance(layers, list) else layers["layers"]:
        if layer["class_name"] == "Sequential" or "input_layers" in layer["config"]:
            yield from steps_of_config(layer)
            continue
        kinds = [*map(_kind, (layer, *layer["config"].get("layers", ())))]
        # The configuration of every Keras layer with weights names an initializer.
        yield kinds, '_initializer"' in json.dumps(layer["config"])


def _kind(layer: Any) -> str:
    module, name = layer.get("module"), str(layer["class_name"])
    # Custom classes have a package before the name, or their own module.
    own = ">" in name or ">" in (layer.get("registered_name") or "")
    if own or (module or "keras").partition(".")[0] not in ("keras", "tensorflow", "tf_keras"):
        return ""
    if name in ("TFOpLambda", "SlicingOpLambda"):
        return str(layer["config"]["function"])
    return name
