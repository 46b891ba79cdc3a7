"""Many images: what a list, a data set or a loader of any library gives, one image at a time."""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from vgg_widget.images.terms import PICTURE_SUFFIXES, ImageError, looks_like_grey_pictures
from vgg_widget.support.messages import briefly

NamedItem: TypeAlias = tuple[str, Any]

# Where data sets of dicts keep the picture, whatever else of them looks like one.
_IMAGE_KEYS = ("image", "images")


def not_several(images: object) -> str:
    """Say in a sentence why something does not stand for several pictures; else nothing."""
    axes = _axes(images) if hasattr(images, "__array__") else 0
    if axes == 2 and hasattr(images, "columns"):
        return (
            f"images is a {type(images).__name__}, which is a table and no set of pictures: pass "
            "its column of paths, for instance list(table['path'])."
        )
    shape = _shape(images)
    if axes == 3 and looks_like_grey_pictures(shape):
        return f"images {_as_grey(images)}."
    if axes in (2, 3) or isinstance(images, str | bytes | os.PathLike | Image.Image):
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
    axes = [1 if _is_texts(part) else _axes(part) for part in parts]
    batches = [part for part, count in zip(parts, axes, strict=True) if count > 2]
    return (
        len(parts) > 1
        and len(batches) == 1
        and (4 in axes or _may_be_grey(batches[0]))
        and set(axes) <= {1, 2, 3, 4}
        and len({len(part) for part in parts}) == 1
    )


def _named(items: Iterable[Any], are_batches: bool) -> Iterator[NamedItem]:
    number = 0
    for place, item in enumerate(items):
        name, held = item if _has_name(item) else ("", item)
        if name and isinstance(held, str) and _may_be_a_file(name) and not _may_be_a_file(held):
            raise ImageError(
                f"{nameless(place)} is {briefly(item)}, a path with a label that is a str: pass "
                "the paths alone, for instance [path for path, label in pairs]."
            )
        pictures = _apart(_chosen(held, nameless(place)), nameless(place), are_batches)
        for index, picture in enumerate(pictures):
            if not name:
                yield _path(picture) or nameless(number), picture
            else:
                yield (name if len(pictures) == 1 else f"{name}[{index}]"), picture
            number += 1


def _has_name(item: Any) -> bool:
    # A path may have a label.
    pair = isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)
    return pair and _axes(item[1]) not in (0, 1)


def _may_be_a_file(name: str) -> bool:
    return Path(name).suffix.lower() in PICTURE_SUFFIXES or os.path.isfile(name)  # noqa: PTH113 - Path's own can raise.


def _path(picture: Any) -> str:
    path = os.fspath(picture) if isinstance(picture, str | os.PathLike) else ""
    return path if isinstance(path, str) else ""


def _is_file(value: Any) -> bool:
    """Tell a path, a file's bytes or an open file, or a list of such."""
    if isinstance(value, list | tuple):
        return bool(value) and all(_is_file(one) for one in value)
    plain = isinstance(value, str | bytes | bytearray | memoryview | os.PathLike)
    return plain or callable(getattr(value, "read", None))


def _is_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and _is_file(value)


def _shape(value: Any) -> tuple[int, ...]:
    """Return an array's shape, and of anything else, or of rows of mixed lengths, an empty one."""
    shape = tuple(getattr(value, "shape", ())) if _axes(value) > 0 else ()
    return shape if all(isinstance(side, int) for side in shape) else ()


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


def _chosen(held: Any, where: str) -> Any:
    """Return the part of an item that is its picture, or its batch of them."""
    if isinstance(held, Mapping):
        of_key, parts = _of_key(held), list(held.values())
        if of_key is None:
            return _among(parts, where)
        _check_labels(of_key, parts, where)
        return of_key
    if isinstance(held, list | tuple) and not _is_one_array(held):
        return _among(
            [_of_key(part) if isinstance(part, Mapping) else part for part in held], where
        )
    return held


def _of_key(held: Mapping[Any, Any]) -> Any:
    found = [held[key] for key in _IMAGE_KEYS if key in held]
    return found[0] if len(found) == 1 else None


def _is_one_array(held: Sequence[Any]) -> bool:
    """Tell a picture as a list, of numbers, rows or channels, from a list of several things."""
    axes = [_axes(part) for part in held]
    # Two grey pictures are two.
    return set(axes) in ({0}, {1}, {2}, set()) and axes != [2, 2]


def _among(parts: Sequence[Any], where: str) -> Any:
    """Return the picture, or the batch, of what may hold labels too."""
    found = [part for part in parts if _axes(part) > 2]
    flat = [part for part in parts if _axes(part) == 2]
    if len(found) == 1 and _axes(found[0]) == 4:
        # A batch's labels may be a row each.
        flat = [part for part in flat if len(part) != len(found[0])]
    found = found + flat or [part for part in parts if _is_file(part)]
    if len(found) != 1 or _is_doubtful_list(found[0], parts):
        count = "several things that may be the picture" if found else "no picture"
        raise ImageError(
            f"{where} holds {count} ({', '.join(map(_told, parts))}): pass the pictures alone, "
            "for instance (image for image, _ in data)."
        )
    picture = found[0]
    _check_labels(picture, parts, where)
    return picture


def _check_labels(picture: Any, parts: Sequence[Any], where: str) -> None:
    """Refuse an array that has as many labels as it would be grey pictures."""
    # A number or a text of its own is one picture's, and no batch's.
    if not _may_be_grey(picture) or any(isinstance(p, str) or _axes(p) == 0 for p in parts):
        return
    shape = _shape(picture)
    # Labels may be a row each; beside a grey picture that is another one.
    most = len(shape) - 1
    labels = [part for part in parts if _is_texts(part) or 0 < _axes(part) <= most]
    if any(len(part) == shape[0] for part in labels if part is not picture):
        raise ImageError(
            f"{where} holds {_told(picture)} with {shape[0]} labels, which may be one picture or "
            f"{shape[0]}: give several the shape (number, height, width, 1), or pass one without "
            "its labels."
        )


def _is_doubtful_list(part: Any, parts: Sequence[Any]) -> bool:
    """Tell two pictures with one label from two with a label each."""
    several = isinstance(part, list | tuple) and not _is_one_array(part)
    return several and any(not _is_indexed(p) or len(p) != len(part) for p in parts)


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
    surely_several = are_batches and axes == 3 and _may_be_grey(held)
    if surely_several or looks_like_grey_pictures(_shape(held)):
        raise ImageError(f"{where} {_as_grey(held)}.")
    return (held,)


def _told(part: Any) -> str:
    if isinstance(part, list | tuple):
        return f"{type(part).__name__} of {len(part)}"
    shape = getattr(part, "shape", None)
    return type(part).__name__ + ("" if shape is None else f" of shape {tuple(shape)}")
