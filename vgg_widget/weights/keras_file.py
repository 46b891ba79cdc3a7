"""Kernels and biases out of a Keras file of any age; nothing in the file is executed."""

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
"""Where an exported file says what its numbers expect of the input, unless that is Keras's way."""

_NUMBERED = re.compile(
    r"((?:.*/)?(?:layers|_layer_checkpoint_dependencies))/conv2d_?(\d*)/vars/[^/]*"
)
_SAVE_AGAIN = "save the model with Keras again."
_LONGEST_CONFIGURATION = 10_000_000
# In numbers: as many as h5py itself puts in one where it may choose.
_SMALL_CHUNK = 1 << 20
# Up to this one more array does no harm: Keras says better what is wrong with it.
_LARGE_ARRAY = 1 << 25
ZIP = b"PK\x03\x04"
"""How a ``.keras`` file begins, which is a zip archive."""

INSIDE_KERAS = "model.weights.h5"
"""The member of a ``.keras`` file that holds its weights."""

Layers = dict[str, list[Any]]
"""A model's arrays in a file, by its layers' names."""


@contextmanager
def opened_keras(what: str, path: Path, vgg: Vgg) -> Iterator[StoredVgg]:
    """Open a Keras file of any layout; `what` is how an error begins.

    The layers may lie inside other models, beside other layers. They are found by their names in
    Keras's VGGs; where a file has none of these names, convolutions by their order. Of several
    models in a file, the one that is a whole VGG of that kind is taken.
    """
    import h5py

    try:
        with _hdf5_part(what, path) as part, h5py.File(part, "r") as file:
            yield _vgg_in(what, path, file, vgg)
    except (WeightsError, MemoryError):
        raise
    except Exception as error:  # h5py and zipfile raise anything at all on damaged files.
        raise _damaged(what) from error


def _damaged(what: str) -> WeightsError:
    return WeightsError(f"{what} is cut short or damaged: choose a whole Keras file.")


def _vgg_in(what: str, path: Path, file: Any, vgg: Vgg) -> StoredVgg:
    place, convolutions = _most_like(what, file, vgg)
    models, _ = _collected(file, CLASSIFIER_NAMES)
    # Of several classifiers, the one beside the convolutions.
    layers = {**(models.get(place) or _together(models)), **convolutions}

    def layer(name: str) -> StoredLayer:
        called = f"{what}: layer {name!r}"
        return StoredLayer(called, *_pair(called, layers.get(name), advice(vgg, name)))

    message = ""
    if _scales_pixels(path, file):
        message = (
            f"Another input: the model in {path.name} scales its pixels itself, and here they are "
            "prepared as ImageNet's are; to see the model as it is, load it with Keras and pass it "
            "as model=."
        )
    preprocessing = str(file.attrs.get(PREPROCESSING_ATTRIBUTE, "caffe"))
    return StoredVgg(vgg, layer, preprocessing=preprocessing, message=message)


def _scales_pixels(path: Path, file: Any) -> bool:
    """Tell whether the model in a file scales its pixels itself, by its configuration."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive, archive.open("config.json") as config:
                text = config.read(_LONGEST_CONFIGURATION).decode()
        else:
            text = str(file.attrs["model_config"])
        return scales_before_weights(steps_of_config(json.loads(text)))
    except Exception:  # The weights are read, and the configuration of no use otherwise.
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
                f"{what} has its weights compressed, which Keras does not do: {_SAVE_AGAIN}"
            )
        # The central directory does not say how long a member's own header is (APPNOTE 4.3.7).
        whole.seek(member.header_offset + 26)
        lengths = whole.read(4)
        header = 30 + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
        yield io.BufferedReader(_Piece(whole, member.header_offset + header, member.file_size))


@contextmanager
def checked_keras_file(what: str, path: Path, most: int) -> Iterator[tuple[Path | BinaryIO, str]]:
    """Give the part of a file that is HDF5, and the suffix by which Keras knows its layout.

    It holds no array of far more numbers than `most`, and leads to no other file, so that Keras can
    read it.
    """
    import h5py

    with _hdf5_part(what, path) as part:
        try:
            with h5py.File(part, "r") as file:
                _check_arrays(what, file, most)
                old = "layer_names" in file.attrs or "model_weights" in file
        except (WeightsError, MemoryError):
            raise
        except Exception as error:  # h5py raises anything at all on damaged files.
            raise _damaged(what) from error
        if not isinstance(part, Path):
            part.seek(0)
        yield part, ".h5" if old else ".weights.h5"


def _check_arrays(what: str, file: Any, most: int) -> None:
    import h5py

    def leads_out(place: str, link: Any) -> str | None:
        return place if isinstance(link, h5py.ExternalLink) else None

    def check(place: str, item: Any) -> None:
        # What is no number, such as a name, is in no weights.
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "fiu":
            _check_stored(f"{what}: {place!r} is an array", item)
            if item.size > max(most, _LARGE_ARRAY):
                raise WeightsError(
                    f"{what}: {place!r} is an array of {item.size:,} numbers where the network has "
                    f"none of more than {most:,}: {_SAVE_AGAIN}"
                )

    # It stops at the first that is found; an error in it would be hidden by another one.
    if (found := file.visititems_links(leads_out)) is not None:
        raise WeightsError(f"{what} leads to another file at {found!r}: {_SAVE_AGAIN}")
    file.visititems(check)


class _Piece(io.RawIOBase):
    """A piece of an open file, as a file: a `.keras` file can be larger than the memory."""

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


def _most_like(what: str, file: Any, vgg: Vgg) -> tuple[str, Layers]:
    """Return the place and the arrays of the model that is a network, or is most like it."""
    names = {name: None for each in VGGS.values() for name in each.kernel_shapes()}
    named, numbered = _collected(file, names)
    models = named or {place: _in_order(layers, vgg) for place, layers in numbered.items()}
    # Its blocks may be models of their own.
    parts = _together(named) if named else _in_order(_one_after_the_other(numbered), vgg)
    complete = [place for place in models if _is_whole(models[place], vgg)]
    if len(complete) > 1:
        told = " and ".join(sorted(repr(_model_name(file, place)) for place in complete))
        raise WeightsError(
            f"{what} hold {len(complete)} whole {vgg.title}s, {told}: save the weights of the one "
            "that is meant, by its own save_weights."
        )
    if not complete:
        for other in VGGS.values():
            if other is not vgg and any(_is_whole(one, other) for one in (*models.values(), parts)):
                raise other_vgg(what, vgg, other)
        models = {**models, "": parts} if named or _is_whole(parts, vgg) else models
    best = max(models, key=lambda place: _likeness(models[place], vgg), default="")
    return best, models.get(best, {})


def _collected(
    file: Any, names: Collection[str]
) -> tuple[dict[str, Layers], dict[str, list[list[Any]]]]:
    """Return the arrays of each model in a file, by its place: of layers that have these names.

    The second is of numbered convolutions, in their order.
    """
    import h5py

    found: defaultdict[str, Layers] = defaultdict(dict)
    numbered: defaultdict[str, dict[int, list[Any]]] = defaultdict(dict)

    def visit(place: str, item: Any) -> None:
        parents = place.split("/")[:-1]
        if not isinstance(item, h5py.Dataset) or parents[:1] in (["optimizer_weights"], []):
            return
        # Keras 3 numbers its groups and keeps the layer's own name as an attribute; its first
        # versions kept the number only; before that the name is in the path.
        given = str(item.parent.attrs.get("name"))
        inside = next((number for number, part in enumerate(parents) if part in names), None)
        if given in names:
            found["/".join(parents[:-2])].setdefault(given, []).append(item)
        elif inside is not None:
            found["/".join(parents[:inside])].setdefault(parents[inside], []).append(item)
        elif number := _NUMBERED.fullmatch(place):
            numbered[number[1]].setdefault(int(number[2] or 0), []).append(item)

    file.visititems(visit)  # This follows no link out of the file.
    in_order = {
        place: [layers[number] for number in sorted(layers)] for place, layers in numbered.items()
    }
    return dict(found), in_order


def _in_order(layers: Iterable[list[Any]], vgg: Vgg) -> Layers:
    """Return the arrays of unnamed convolutions, which are given a network's names in turn."""
    return dict(zip(vgg.kernel_shapes(), layers, strict=False))


def _one_after_the_other(models: Mapping[str, list[list[Any]]]) -> list[list[Any]]:
    """Return the convolutions of several models, such as block1 and block2, as one."""
    return [layer for place in sorted(models) for layer in models[place]]


def _together(models: Mapping[str, Layers]) -> Layers:
    """Return the arrays of all models by their layers' names."""
    found: defaultdict[str, list[Any]] = defaultdict(list)
    for layers in models.values():
        for name, items in layers.items():
            found[name] += items
    return found


def _likeness(layers: Layers, vgg: Vgg) -> int:
    """Count the layers that have the kernel and the bias of a network's."""
    return sum(
        {item.shape for item in layers.get(name, ())} == {shape, shape[-1:]}
        and len(layers[name]) == 2
        for name, shape in vgg.kernel_shapes().items()
    )


def _is_whole(layers: Layers, vgg: Vgg) -> bool:
    """Tell whether layers are a network's, all of them and no others."""
    return len(layers) == len(vgg.kernel_shapes()) == _likeness(layers, vgg)


def _model_name(file: Any, place: str) -> str:
    """Return what a model is called that has its layers at some place in a file."""
    own = f"{place.removesuffix('layers')}vars"
    name = file.visititems(lambda at, item: item.attrs.get("name") if at == own else None)
    return str(name or place)


def _pair(layer: str, items: list[Any] | None, advice: str) -> tuple[Stored, Stored]:
    """Tell kernel and bias apart, whose numbers must be in this file."""
    if items is None or len(items) != 2:
        count = f"has {len(items)} arrays, not a kernel and a bias" if items else "is missing"
        raise WeightsError(f"{layer} {count}: {advice}")
    # Files of every age name the two differently, but a kernel has more axes than a bias.
    kernel, bias = sorted(items, key=lambda item: -item.ndim)
    for part, item in (("kernel", kernel), ("bias", bias)):
        _check_stored(f"{layer} has a {part}", item)
    return (
        Stored(kernel.shape, kernel.dtype, kernel.__array__),
        Stored(bias.shape, bias.dtype, bias.__array__),
    )


def _check_stored(what: str, item: Any) -> None:
    """Refuse an array that is not in this file, or takes far more memory than itself to read."""
    if item.external or item.is_virtual:
        raise WeightsError(f"{what} that is no array of the file's own: {_SAVE_AGAIN}")
    # HDF5 unpacks a whole chunk, of up to 4 GB, for the one number of it that is wanted.
    if item.chunks is not None and math.prod(item.chunks) > max(item.size, _SMALL_CHUNK):
        raise WeightsError(f"{what} in chunks of {item.chunks}, larger than itself: {_SAVE_AGAIN}")


def write_keras(arrays: Arrays, preprocessing: str, path: Path) -> None:
    """Write what ``keras.applications.VGG19(include_top=False).load_weights`` takes."""
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs[PREPROCESSING_ATTRIBUTE] = preprocessing
        for number, (name, pair) in enumerate(arrays.items()):
            # As Keras 3 numbers the layers of a class.
            group = file.create_group(f"layers/conv2d{f'_{number}' if number else ''}/vars")
            group.attrs["name"] = name
            for part, array in enumerate(pair):
                group[str(part)] = array


# What a model does to its pixels ----------------------------------------------------------------


Step: TypeAlias = tuple[Sequence[str], bool]
"""A layer's class with those of the layers in it ("" for one that is not Keras's own), and whether
it has weights that are trained."""


def scales_before_weights(steps: Iterable[Step]) -> bool:
    """Tell whether a model changes its pixels' values before its first layer with weights.

    The steps come in order. A class that may do anything, such as a Lambda, counts as a change.
    """
    scales = False
    for kinds, weighted in steps:
        if weighted:
            return scales
        scales = scales or any(map(_scales, kinds))
    return False


def _scales(kind: str) -> bool:
    # Keras 3 writes "ExpandDims", Keras 2 "expand_dims" after the module that has it.
    kind = kind.rpartition(".")[2].replace("_", "").lower()
    return not _HARMLESS.fullmatch(kind)


# What moves, cuts, casts or pools pixels, and what only training does.
_HARMLESS = re.compile(
    "flip|reverse|roll|take|gather|stack|concat(enate)?|"
    "inputlayer|identity|cast|getitem|pipeline|reshape|permute|transpose|moveaxis|swapaxes"
    "|expanddims|squeeze|flatten|split|unstack|repeat|resizing|resize|upsampling2d|centercrop"
    "|cropping2d|zeropadding2d|pad|(max|average)pooling2d|clip(byvalue)?|rgbtograyscale"
    "|(spatial)?dropout(2d)?|gaussian(noise|dropout)|random.*|randaugment|augmix|cutmix|mixup"
)


def steps_of_config(config: Any) -> Iterator[Step]:
    """Give the layers of a saved model in the order in which they are written.

    Keras 2 and 3 write what is called first before what is called later. Models within the model
    are opened up, and nothing of it is made.
    """
    layers = config["config"]
    # The first releases of Keras 2 wrote the bare list.
    for layer in layers if isinstance(layers, list) else layers["layers"]:
        if layer["class_name"] == "Sequential" or "input_layers" in layer["config"]:
            yield from steps_of_config(layer)
            continue
        kinds = [*map(_kind, (layer, *layer["config"].get("layers", ())))]
        # Each layer of Keras's that has weights says how they start.
        yield kinds, '_initializer"' in json.dumps(layer["config"])


def _kind(layer: Any) -> str:
    module, name = layer.get("module"), str(layer["class_name"])
    # What is a person's own has its package before the name, or a module of its own.
    own = ">" in name or ">" in (layer.get("registered_name") or "")
    if own or (module or "keras").partition(".")[0] not in ("keras", "tensorflow", "tf_keras"):
        return ""
    if name in ("TFOpLambda", "SlicingOpLambda"):
        return str(layer["config"]["function"])
    return name
