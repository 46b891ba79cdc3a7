"""Many images: what a list, a data set or a loader of any library gives, one image at a time."""

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

# Where data sets of dicts keep the picture, whatever else of them looks like one.
_IMAGE_KEYS = ("image", "images")


def not_several(images: object) -> str:
    """Say in a sentence why something does not stand for several pictures; else nothing."""
    shape = _shape(images)
    if looks_like_grey_pictures(shape):
        return f"images {_as_grey(images)}."
    if len(shape) in (2, 3) or isinstance(images, str | bytes | os.PathLike | Image.Image):
        return "images is one image, not several: put it in a list."
    return ""


def is_collection(images: object) -> bool:
    """Tell whether `named_images` can take images from it."""
    single = isinstance(images, str | bytes | bytearray | memoryview | os.PathLike)
    return not single and (isinstance(images, Iterable) or _is_indexed(images))


def named_images(images: Any) -> Iterable[NamedItem]:
    """Give images one by one, each with its name; leave labels out, and take batches apart.

    Items are images, (name, image) pairs, batches (arrays with one axis more), or tuples, lists and
    dicts of one of these and labels. A batch with as many labels may be the whole. What has no name
    is called ``images[3]``, by its place among all images. What may be understood in several ways
    is an `ImageError`.
    """
    named = _named(_items(images), _gives_batches(images))
    return list(named) if isinstance(images, list | tuple | Mapping | np.ndarray) else named


def nameless(number: int) -> str:
    """Return what an image without a name is called."""
    return f"images[{number}]"


def _items(images: Any) -> Iterable[Any]:
    if isinstance(images, Mapping | list | tuple) and _is_labelled_batch(images):
        return [images]
    if isinstance(images, Mapping):
        for key in images:
            if not isinstance(key, str):
                raise TypeError(
                    f"images has the key {briefly(key)}, which is no name: give each image a name "
                    "that is a str."
                )
        return images.items()
    # PyTorch's data sets have no end for `iter`, and Keras's older generators none at all.
    if _is_indexed(images) and (not hasattr(images, "__iter__") or hasattr(images, "__next__")):
        return (images[place] for place in range(len(images)))
    found: Iterable[Any] = images
    return found


def _is_indexed(images: object) -> bool:
    return hasattr(images, "__getitem__") and hasattr(images, "__len__")


def _gives_batches(images: Any) -> bool:
    """Tell whether all arrays of a loader are known to be batches, whatever their shapes."""
    collate = getattr(images, "collate_fn", None)
    if getattr(collate, "__name__", "") == "default_collate":
        return getattr(images, "batch_size", None) is not None
    spec = getattr(images, "element_spec", None)
    while isinstance(spec, Mapping | tuple) and len(spec) == 1:
        (spec,) = spec.values() if isinstance(spec, Mapping) else spec
    # A picture that TensorFlow does not know the number of channels of is one of unknown sides.
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
        pictures = _apart(_without_labels(held, where), where, are_batches)
        for index, picture in enumerate(pictures):
            if name:
                yield (name if len(pictures) == 1 else f"{name}[{index}]"), picture
            else:
                is_path = isinstance(picture, str | os.PathLike)
                yield (os.fsdecode(picture) if is_path else "") or nameless(number), picture
            number += 1


def _has_name(item: Any) -> bool:
    # A path may have a label.
    pair = isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)
    return pair and _axes(item[1]) not in (0, 1)


def _without_labels(held: Any, where: str) -> Any:
    """Return the part of an item that is its picture, or its batch of pictures."""
    if isinstance(held, Mapping):
        parts, marked = list(held.values()), _under_a_key(held)
    elif isinstance(held, list | tuple) and not _is_one_array(held):
        parts, marked = [_under_a_key(p) if isinstance(p, Mapping) else p for p in held], None
    else:
        return held
    found = _pictures(parts) if marked is None else [marked]
    if len(found) != 1:
        count = "several things that may be the picture" if found else "no picture"
        raise ImageError(
            f"{where} holds {count} ({', '.join(map(_told, parts))}): pass the pictures alone, "
            "for instance (image for image, _ in data)."
        )
    picture, shape = found[0], _shape(found[0])
    # A number or a text of its own is one picture's, and no batch's.
    alone = any(isinstance(part, str) or _axes(part) == 0 for part in parts)
    others = [part for part in parts if part is not picture and _axes(part) < len(shape)]
    if _may_be_grey(picture) and not alone and shape[0] in map(_length, others):
        raise ImageError(
            f"{where} holds {_told(picture)} with {shape[0]} labels, which may be one picture or "
            f"{shape[0]}: give several the shape (number, height, width, 1), or pass one without "
            "its labels."
        )
    return picture


def _under_a_key(held: Mapping[Any, Any]) -> Any:
    found = [held[key] for key in _IMAGE_KEYS if key in held]
    return found[0] if len(found) == 1 else None


def _pictures(parts: Sequence[Any]) -> Sequence[Any]:
    """Return which of an item's parts may be its picture, or its batch of pictures."""
    found = [part for part in parts if _axes(part) > 2]
    flat = [part for part in parts if _axes(part) == 2]
    if len(found) == 1 and _axes(found[0]) == 4:
        # A batch's labels may be a row each.
        flat = [part for part in flat if _length(part) != _length(found[0])]
    found = found + flat or [part for part in parts if _is_file(part)]
    several = len(found) == 1 and isinstance(found[0], list | tuple) and not _is_one_array(found[0])
    # Pictures with a label each are a batch; two of them with one label are not.
    if several and any(_length(part) != len(found[0]) for part in parts):
        return [*found[0]]
    return found


def _is_one_array(held: Sequence[Any]) -> bool:
    """Tell a picture as a list, of numbers, rows or channels, from a list of several things."""
    axes = [_axes(part) for part in held]
    # Two grey pictures are two.
    return set(axes) in ({0}, {1}, {2}, set()) and axes != [2, 2]


def _apart(held: Any, where: str, are_batches: bool) -> Sequence[Any]:
    """Return the pictures of a batch one by one, and a single picture alone."""
    axes = _axes(held)
    if axes > 4:
        raise ImageError(
            f"{where} is {_told(held)}, which is neither a picture nor a batch: pass arrays of "
            "shape (number, height, width, 3)."
        )
    if axes == 4 or (isinstance(held, list | tuple) and _is_file(held)):
        batch: Sequence[Any] = held
        return batch
    # Three or four grey pictures have the shape of one in colour, channels first.
    surely_several = are_batches and axes == 3 and _may_be_grey(held)
    if surely_several or looks_like_grey_pictures(_shape(held)):
        raise ImageError(f"{where} {_as_grey(held)}.")
    return (held,)


def _is_file(value: Any) -> bool:
    """Tell a path, a file's bytes or an open file, or a list of such."""
    if isinstance(value, list | tuple):
        return bool(value) and all(_is_file(one) for one in value)
    plain = isinstance(value, str | bytes | bytearray | memoryview | os.PathLike)
    return plain or callable(getattr(value, "read", None))


def _axes(value: Any) -> int:
    """Count the axes of an array, or a list of arrays; -1 for what is neither."""
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
    """Return an array's shape; an empty one of anything else, or of rows of mixed lengths."""
    shape = tuple(getattr(value, "shape", ())) if _axes(value) > 0 else ()
    return shape if all(isinstance(side, int) for side in shape) else ()


def _length(value: Any) -> int | None:
    """Return how many rows an array or a list has; None for what is neither."""
    if isinstance(value, list | tuple):
        return len(value)
    shape = _shape(value)
    return shape[0] if shape else None


def _may_be_grey(value: Any) -> bool:
    """Tell an array that may be several grey pictures, or as many rows of pixels."""
    shape = _shape(value)
    of_shape = len(shape) == 2 or (len(shape) == 3 and shape[-1] not in (1, 3, 4))
    return of_shape and shape[0] > 1


def _as_grey(value: Any) -> str:
    shape = _shape(value)
    return (
        f"is {_told(value)}, which looks like {shape[0]} grey pictures: give it the shape "
        f"{(*shape, 1)}"
    )


def _told(part: Any) -> str:
    if isinstance(part, list | tuple):
        return f"{type(part).__name__} of {len(part)}"
    shape = getattr(part, "shape", None)
    return type(part).__name__ + ("" if shape is None else f" of shape {tuple(shape)}")
