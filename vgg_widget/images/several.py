"""Many images: what a list, a data set or a loader of any library gives, one image at a time."""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from vgg_widget.choices import briefly
from vgg_widget.images.terms import ImageError

NamedItem: TypeAlias = tuple[str, Any]

# Where data sets of dicts keep the picture, whatever else of them looks like one.
_IMAGE_KEYS = ("image", "images")


def is_one_picture(images: object) -> bool:
    """Tell a picture from an array of them, and from what gives several."""
    return isinstance(images, Image.Image) or (
        hasattr(images, "__array__") and _axes(images) in (2, 3)
    )


def is_collection(images: object) -> bool:
    """Tell whether `named_images` can take images from it."""
    single = isinstance(images, str | bytes | bytearray | memoryview | os.PathLike)
    return not single and (isinstance(images, Iterable) or _is_indexed(images))


def named_images(images: Any) -> Iterable[NamedItem]:
    """Give images one by one, each with its name; leave labels out, and take batches apart.

    Parameters
    ----------
    images : collection
        Its items are images, (name, image) pairs, batches (arrays with one axis more), or tuples,
        lists and dicts of one of these and labels. A batch with as many labels may be the whole.

    Returns
    -------
    list or iterator of (str, object)
        A list where `images` holds all of them already. What has no name is called ``images[3]``,
        by its place among all images.

    Raises
    ------
    ImageError
        At an item that holds no picture, or may be understood in several ways.
    TypeError
        If a mapping has a key that is no name.
    """
    named = _named(_items(images))
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


def _is_labelled_batch(images: Mapping[Any, Any] | Sequence[Any]) -> bool:
    parts = list(images.values()) if isinstance(images, Mapping) else images
    axes = [_axes(part) for part in parts]
    return (
        len(parts) > 1
        and axes.count(4) == 1
        and set(axes) <= {1, 2, 4}
        and len({len(part) for part in parts}) == 1
    )


def _named(items: Iterable[Any]) -> Iterator[NamedItem]:
    number = 0
    for place, item in enumerate(items):
        name, held = item if _has_name(item) else ("", item)
        pictures = _pictures(held, nameless(place))
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


def _path(picture: Any) -> str:
    path = os.fspath(picture) if isinstance(picture, str | os.PathLike) else ""
    return path if isinstance(path, str) else ""


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


def _pictures(held: Any, where: str) -> Sequence[Any]:
    """Return the pictures of an item."""
    if isinstance(held, Mapping):
        of_key = _of_key(held)
        return _among(list(held.values()), where) if of_key is None else _apart(of_key, where)
    if isinstance(held, list | tuple) and not _is_one_array(held):
        return _among(
            [_of_key(part) if isinstance(part, Mapping) else part for part in held], where
        )
    return _apart(held, where)


def _of_key(held: Mapping[Any, Any]) -> Any:
    found = [held[key] for key in _IMAGE_KEYS if key in held]
    return found[0] if len(found) == 1 else None


def _is_one_array(held: Sequence[Any]) -> bool:
    """Tell a picture as a list, of numbers, rows or channels, from a list of several things."""
    axes = [_axes(part) for part in held]
    # Two grey pictures are two.
    return set(axes) in ({0}, {1}, {2}, set()) and axes != [2, 2]


def _among(parts: Sequence[Any], where: str) -> Sequence[Any]:
    """Return the pictures of what may hold labels too."""
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
    shape = tuple(getattr(picture, "shape", ()))
    may_be_grey = len(shape) == 2 or (len(shape) == 3 and shape[-1] not in (1, 3, 4))
    if may_be_grey and shape[0] > 1 and any(_axes(p) == 1 and len(p) == shape[0] for p in parts):
        raise ImageError(
            f"{where} holds {_told(picture)} with {shape[0]} labels, which may be one picture or "
            f"{shape[0]}: give several the shape (number, height, width, 1)."
        )
    return _apart(picture, where)


def _is_doubtful_list(part: Any, parts: Sequence[Any]) -> bool:
    """Tell two pictures with one label from two with a label each."""
    several = isinstance(part, list | tuple) and not _is_one_array(part)
    return several and any(not _is_indexed(p) or len(p) != len(part) for p in parts)


def _apart(held: Any, where: str) -> Sequence[Any]:
    axes = _axes(held)
    if axes > 4:
        raise ImageError(
            f"{where} is {_told(held)}, which is neither a picture nor a batch: pass arrays of "
            "shape (number, height, width, 3)."
        )
    if axes == 4 or (isinstance(held, list | tuple) and _is_file(held)):
        batch: Sequence[Any] = held
        return batch
    return (held,)


def _told(part: Any) -> str:
    if isinstance(part, list | tuple):
        return f"{type(part).__name__} of {len(part)}"
    shape = getattr(part, "shape", None)
    return type(part).__name__ + ("" if shape is None else f" of shape {tuple(shape)}")
