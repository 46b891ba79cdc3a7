"""Image loading: any kind of image becomes an RGB `uint8` array, or raises `ImageError`."""

from vgg_widget.images.many_images import (
    NamedItem,
    is_collection,
    named_images,
    nameless,
    not_several,
)
from vgg_widget.images.reading import (
    ImageReading,
    file_bytes,
    load_image,
    read_file_bytes,
    read_image,
    sample_image,
)
from vgg_widget.images.terms import (
    MINIMUM_SIDE,
    PICTURE_SUFFIXES,
    RGB8,
    ImageError,
    checked_size,
    resize,
    resize_exactly,
    target_size,
)

__all__ = [
    "MINIMUM_SIDE",
    "PICTURE_SUFFIXES",
    "RGB8",
    "ImageError",
    "ImageReading",
    "NamedItem",
    "checked_size",
    "file_bytes",
    "is_collection",
    "load_image",
    "named_images",
    "nameless",
    "not_several",
    "read_file_bytes",
    "read_image",
    "resize",
    "resize_exactly",
    "sample_image",
    "target_size",
]
