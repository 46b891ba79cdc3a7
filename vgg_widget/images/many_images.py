"""Iterate over the images of a list, data set or loader of any library, one image at a time."""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from vgg_widget.images.terms import ImageError, looks_like_grey_pictures
from vgg_widget.support.messages import briefly

NamedItem: TypeAlias = tuple[str, Any]

# Keys under which data sets of dicts hold the image, even if other entries look like images.
_IMAGE_KEYS = ("image", "images")


def not_several(images: object) -> str:
    """Return a message if `images` is a single image or ambiguous; otherwise an empty string."""
    shape = _shape(images)
    if looks_like_grey_pictures(shape):
        return f"images {_as_grey(images)}."
    if len(shape) in (2, 3) or isinstance(images, str | bytes | os.PathLike | Image.Image):
        return "images is one image, not several: put it in a list."
    return ""


def is_collection(images: object) -> bool:
    """Return whether `named_images` can iterate over it."""
    single = isinstance(images, str | bytes | bytearray | memoryview | os.PathLike)
    return not single and (isinstance(images, Iterable) or _is_indexed(images))


def named_images(images: Any) -> Iterable[NamedItem]:
    """Yield (name, image) pairs; labels are dropped and batches are split.

    Items are images, (name, image) pairs, batches (arrays with one more axis), or tuples, lists and
    dicts of one of these and labels. `images` itself may be a batch with its labels. An image
    without a name is called ``images[3]``, by its position among all images. Ambiguous items raise
    `ImageError`.
    """
    named = _named(_items(images), _gives_batches(images))
    return list(named) if isinstance(images, list | tuple | Mapping | np.ndarray) else named


def nameless(number: int) -> str:
    """Return the name for an unnamed image."""
    return f"images[{number}]"


def _items(images: Any) -> Iterable[Any]:
    if isinstance(images, Mapping | list | tuple) and _is_labelled_batch(images):
        return [images]
    if isinstance(images, Mapping):
        for key in images:
            if not isinstance(key, str):
                raise TypeError(
                    f"images has the key {briefly(key)}, which is not a str: give each image a "
                    "name that is a str."
                )
        return images.items()
    # Iterating over a PyTorch data set by index never ends, nor does iterating over Keras's older
    # generators: use the length instead.
    if _is_indexed(images) and (not hasattr(images, "__iter__") or hasattr(images, "__next__")):
        return (images[place] for place in range(len(images)))
    found: Iterable[Any] = images
    return found


def _is_indexed(images: object) -> bool:
    return hasattr(images, "__getitem__") and hasattr(images, "__len__")


def _gives_batches(images: Any) -> bool:
    """Return whether a loader's arrays are known to be batches, whatever their shapes."""
    collate = getattr(images, "collate_fn", None)
    if getattr(collate, "__name__", "") == "default_collate":
        return getattr(images, "batch_size", None) is not None
    spec = getattr(images, "element_spec", None)
    while isinstance(spec, Mapping | tuple) and len(spec) == 1:
        (spec,) = spec.values() if isinstance(spec, Mapping) else spec
    # For a single image with an unknown number of channels, TensorFlow does not know the sides
    # either, so all three would be None.
    shape: Any = getattr(spec, "shape", None)
    if getattr(shape, "rank", None) != 3:
        return False
    return shape[0] is None and None not in tuple(shape)[1:]


def _is_labelled_batch(images: Mapping[Any, Any] | Sequence[Any]) -> bool:
    parts = list(images.values()) if isinstance(images, Mapping) else images
    batches = [part for part in parts if _axes(part) > 2]
    return (
        len(parts) > 1
        and len(batches) == 1
        and (_axes(batches[0]) == 4 or _may_be_grey(batches[0]))
        and all(_length(part) == _length(batches[0]) for part in parts)
    )


def _named(items: Iterable[Any], are_batches: bool) -> Iterator[NamedItem]:
    number = 0
    for place, item in enumerate(items):
        where = nameless(place)
        name, held = item if _has_name(item) else ("", item)
        pictures = _split_batch(_without_labels(held, where), where, are_batches)
        for index, picture in enumerate(pictures):
            if name:
                yield (name if len(pictures) == 1 else f"{name}[{index}]"), picture
            else:
                is_path = isinstance(picture, str | os.PathLike)
                yield (os.fsdecode(picture) if is_path else "") or nameless(number), picture
            number += 1


def _has_name(item: Any) -> bool:
    # In (path, label) the path is the image, not a name.
    pair = isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)
    return pair and _axes(item[1]) not in (0, 1)


def _without_labels(held: Any, where: str) -> Any:
    """Return the part of an item that is its image, or its batch of images."""
    if isinstance(held, Mapping):
        parts, marked = list(held.values()), _under_a_key(held)
    elif isinstance(held, list | tuple) and not _is_one_array(held):
        parts, marked = [_under_a_key(p) if isinstance(p, Mapping) else p for p in held], None
    else:
        return held
    found = _pictures(parts) if marked is None else [marked]
    if len(found) != 1:
        count = "several parts that may be the image" if found else "no image"
        raise ImageError(
            f"{where} holds {count} ({', '.join(map(_describe, parts))}): pass only the images, "
            "for instance (image for image, _ in data)."
        )
    picture, shape = found[0], _shape(found[0])
    # A single number or text beside the image is the label of one image, not of a batch.
    alone = any(isinstance(part, str) or _axes(part) == 0 for part in parts)
    others = [part for part in parts if part is not picture and _axes(part) < len(shape)]
    if _may_be_grey(picture) and not alone and shape[0] in map(_length, others):
        raise ImageError(
            f"{where} holds {_describe(picture)} with {shape[0]} labels, which may be one image or "
            f"{shape[0]}: give several the shape (number, height, width, 1), or pass one without "
            "its labels."
        )
    return picture


def _under_a_key(held: Mapping[Any, Any]) -> Any:
    found = [held[key] for key in _IMAGE_KEYS if key in held]
    return found[0] if len(found) == 1 else None


def _pictures(parts: Sequence[Any]) -> Sequence[Any]:
    """Return the parts of an item that may be its image, or its batch of images."""
    found = [part for part in parts if _axes(part) > 2]
    flat = [part for part in parts if _axes(part) == 2]
    if len(found) == 1 and _axes(found[0]) == 4:
        # A batch may have one row of labels per image.
        flat = [part for part in flat if _length(part) != _length(found[0])]
    found = found + flat or [part for part in parts if _is_file(part)]
    several = len(found) == 1 and isinstance(found[0], list | tuple) and not _is_one_array(found[0])
    # Images with one label each are a batch; two images with one label are not.
    if several and any(_length(part) != len(found[0]) for part in parts):
        return [*found[0]]
    return found


def _is_one_array(held: Sequence[Any]) -> bool:
    """Return whether a list is one image (of numbers, rows or channels), not several objects."""
    axes = [_axes(part) for part in held]
    # Two 2-D arrays are two grey images.
    return set(axes) in ({0}, {1}, {2}, set()) and axes != [2, 2]


def _split_batch(held: Any, where: str, are_batches: bool) -> Sequence[Any]:
    """Return the images of a batch, or a single image in a tuple."""
    axes = _axes(held)
    if axes > 4:
        raise ImageError(
            f"{where} is {_describe(held)}, which is neither an image nor a batch: pass arrays of "
            "shape (number, height, width, 3)."
        )
    if axes == 4 or (isinstance(held, list | tuple) and _is_file(held)):
        batch: Sequence[Any] = held
        return batch
    # Three or four grey images have the shape of one colour image, channels first.
    surely_several = are_batches and axes == 3 and _may_be_grey(held)
    if surely_several or looks_like_grey_pictures(_shape(held)):
        raise ImageError(f"{where} {_as_grey(held)}.")
    return (held,)


def _is_file(value: Any) -> bool:
    """Return whether `value` is a path, a file's bytes, an open file, or a list of these."""
    if isinstance(value, list | tuple):
        return bool(value) and all(_is_file(one) for one in value)
    plain = isinstance(value, str | bytes | bytearray | memoryview | os.PathLike)
    return plain or callable(getattr(value, "read", None))


def _axes(value: Any) -> int:
    """Count the axes of an array or a list of arrays; return -1 for anything else."""
    if isinstance(value, Image.Image):
        return 3
    if isinstance(value, numbers.Number):
        return 0
    if _is_file(value):
        return -1
    if isinstance(value, list | tuple):
        inner = _axes(value[0]) if value else 0
        return inner + 1 if inner >= 0 else -1
    shape: Any = getattr(value, "shape", None)
    return len(shape) if hasattr(shape, "__len__") else -1


def _shape(value: Any) -> tuple[int, ...]:
    """Return an array's shape; an empty tuple for anything else and for rows of mixed lengths."""
    shape = tuple(getattr(value, "shape", ())) if _axes(value) > 0 else ()
    return shape if all(isinstance(side, int) for side in shape) else ()


def _length(value: Any) -> int | None:
    """Return the number of rows of an array or list; None for anything else."""
    if isinstance(value, list | tuple):
        return len(value)
    shape = _shape(value)
    return shape[0] if shape else None


def _may_be_grey(value: Any) -> bool:
    """Return whether an array may be several grey images or as many rows of pixels."""
    shape = _shape(value)
    of_shape = len(shape) == 2 or (len(shape) == 3 and shape[-1] not in (1, 3, 4))
    return of_shape and shape[0] > 1


def _as_grey(value: Any) -> str:
    shape = _shape(value)
    return (
        f"is {_describe(value)}, which looks like {shape[0]} grey images: give it the shape "
        f"{(*shape, 1)}"
    )


def _describe(part: Any) -> str:
    if isinstance(part, list | tuple):
        return f"{type(part).__name__} of {len(part)}"
    shape = getattr(part, "shape", None)
    return type(part).__name__ + ("" if shape is None else f" of shape {tuple(shape)}")
