"""Arrays and tensors as images: the order of their axes and the range of their values."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vgg_widget.images.terms import (
    RGB8,
    ImageError,
    check_not_too_large,
    check_sides,
    joined,
    transparency,
)
from vgg_widget.support.messages import plain_range, reason

# Floats that exceed their range by more than this share are noted; less is rounding error.
_NOTED_EXCESS = 0.002
# How far floats may exceed their range, as shares of it: first the smallest and largest values,
# then the average amount clipped at either end. The amount below 0 is relative to the brightest
# value, since a dark image overshoots by less. Resampling (bicubic, Lanczos), noise and brightening
# stay within these limits; images with a mean subtracted and values from -1 to 1 do not.
_LEAST, _MOST = -0.75, 2.0
_CUT_BELOW, _CUT_ABOVE = 0.02, 0.1
# Values smaller than this are rounding errors around 0, not a scaled image.
_NEGLIGIBLE = 1e-6
# Floats in 0-255 that are all below this would be a nearly black image. They are refused, since
# they may just as well be in some other range.
_MIN_BRIGHTEST = 16.0


def as_array(source: Any) -> npt.NDArray[Any]:
    """Convert an array, tensor, buffer or list of numbers to a NumPy array."""
    try:
        if callable(getattr(source, "detach", None)):
            # A PyTorch tensor may be in a gradient graph, or on a GPU.
            source = source.detach().cpu()
        if str(getattr(source, "dtype", "")) == "torch.bfloat16":
            # NumPy has no bfloat16; every bfloat16 is exactly representable as float32.
            source = source.float()
        array = np.asarray(source)
        hidden = np.count_nonzero(source.mask) if isinstance(source, np.ma.MaskedArray) else 0
    except Exception as error:  # An object's `__array__` may raise anything.
        raise ImageError(
            f"image of type {type(source).__name__} could not be converted to an array "
            f"({reason(error)}): pass numbers of shape (height, width, 3)."
        ) from error
    if hidden:
        raise ImageError(
            f"image array has {hidden} masked values, which have no colour: fill them, for "
            "instance with array.filled(255)."
        )
    return array


def from_array(
    array: npt.NDArray[Any], minimum_side: int, what: str = "image array"
) -> tuple[RGB8, str]:
    """Return an array's image, by the rules of `load_image`, and a note on how it was read.

    The array is never changed; `what` begins error messages.
    """
    pixels = _channels_last(array, what)
    height, width, _ = pixels.shape
    check_not_too_large(what, height, width)
    check_sides(what, height, width, minimum_side)
    colors = pixels[..., :3]
    values, note = _to_uint8(colors, what)
    if values.shape[-1] == 1:
        values = np.repeat(values, 3, axis=-1)
    elif pixels.shape[-1] == 4:
        opacity, alpha_note = _opacity(pixels[..., 3:], note, what)
        note = joined(note, alpha_note)
        alpha = opacity.astype(np.float32) / 255
        over_white = values * alpha + 255 * (1 - alpha)
        values = np.rint(over_white).astype(np.uint8)
    if colors.dtype.kind in "ui" and colors.any() and not values.any():
        # 16-bit values may all round to 0. Only this function still knows the original maximum.
        note = joined(note, f"nearly black: its brightest value is {colors.max()} of 65535")
    return np.array(values, order="C"), note


def _channels_last(array: npt.NDArray[Any], what: str) -> npt.NDArray[Any]:
    shape = array.shape
    if array.ndim == 4 and shape[0] == 1:
        array = array[0]
    if array.size == 0:
        raise ImageError(f"{what} of shape {shape} is empty: pass one with pixels.")
    if array.ndim == 2:
        return array[..., np.newaxis]
    if array.ndim == 3 and array.shape[-1] in (1, 3, 4):
        return array
    if array.ndim == 3 and array.shape[0] in (1, 3, 4):
        return np.moveaxis(array, 0, -1)
    raise ImageError(
        f"{what} of shape {shape} is not an image: pass (height, width) for grey, (height, width, "
        "3) for RGB, (height, width, 4) for RGBA, or channels first; for several images, pass one, "
        "such as array[0], or pass all to FeatureExtractor.stream."
    )


def _to_uint8(array: npt.NDArray[Any], what: str) -> tuple[RGB8, str]:
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255), ""
    if array.dtype == np.uint8:
        return array, ""
    # bfloat16 from ml_dtypes, which TensorFlow and JAX use, has its own kind.
    if array.dtype.kind not in "uif" and array.dtype.name != "bfloat16":
        # The dtype's name is used, since the repr of a structured dtype can be very long.
        raise ImageError(
            f"{what} has dtype {array.dtype.name}, which images cannot have: pass uint8, uint16, "
            "bool or float."
        )
    if array.dtype.kind not in "ui":
        # Values beyond float64 become infinite and are refused below; signalling NaNs would raise a
        # warning.
        with np.errstate(over="ignore", invalid="ignore"):
            return _float_to_uint8(array.astype(np.float64), what)
    if array.dtype.newbyteorder("=") == np.uint16:
        eight_bits = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
        return eight_bits, "16-bit values read as 0–65535"
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > 255:
        raise ImageError(
            f"{what} has {array.dtype} values from {low} to {high}: scale them to 0–255, "
            "or pass 16-bit values as uint16."
        )
    return array.astype(np.uint8), ""


def _opacity(alpha: npt.NDArray[Any], note: str, what: str) -> tuple[RGB8, str]:
    """Return each pixel's opacity, 0 to 255, and a note on how it was read.

    Alpha may have another range than the colours: a mask of 0 and 1 is often combined with colours
    in 0–255, or one in 0–255 with 16-bit colours. Using the full range of its dtype would give a
    white image.
    """
    if alpha.dtype.kind in "ui" and alpha.min() >= 0 and alpha.max() <= 255:
        top = 1 if alpha.max() <= 1 else 255
        opacity = alpha.astype(np.uint8) * np.uint8(255 // top)
        as_usual = top == 255 and alpha.dtype.newbyteorder("=") != np.uint16
        rule = "" if as_usual else f"values up to {alpha.max()} read as 0–{top}"
    else:
        opacity, rule = _to_uint8(alpha, f"alpha of {what}")
    most = int(opacity.max())
    alpha_note = f"alpha: {rule}" if most and rule not in ("", note) else ""
    return opacity, joined(alpha_note, transparency(most))


def _float_to_uint8(values: npt.NDArray[np.float64], what: str) -> tuple[RGB8, str]:
    if not np.isfinite(values).all():
        bad = int(np.size(values) - np.isfinite(values).sum())
        raise ImageError(
            f"{what} has {bad} values that are NaN or infinite: replace them, for instance "
            "with numpy.nan_to_num."
        )
    low, high = float(values.min()), float(values.max())
    top = 1.0 if high <= _MOST else 255.0
    below, above = -values[values < 0].sum(), (values[values > top] - top).sum()
    fits = max(-low, high) < _NEGLIGIBLE or (
        _LEAST * top <= low
        and high <= _MOST * top
        and below <= _CUT_BELOW * min(high, top) * values.size
        and above <= _CUT_ABOVE * top * values.size
    )
    pixels: RGB8 = np.rint(np.clip(values / top, 0, 1) * 255).astype(np.uint8)
    if top == 1:
        # `pixels.max() <= 1` means an image in 0-255 that was divided by 255 twice.
        fits = fits and (high < _NEGLIGIBLE or pixels.max() > 1)
        note = "float values up to 1 read as 0–1"
    else:
        # A few outliers do not make a range 0-255 if all other values fit 0-1.
        few = np.count_nonzero(values > 1) < 0.05 * np.count_nonzero(values > 0)
        fits = fits and high >= _MIN_BRIGHTEST and not few
        note = "float values read as 0–255"
    if not fits:
        raise ImageError(
            f"{what} has float values from {plain_range(low, high, 4)}: undo any normalisation, "
            "clip outliers, and pass values in 0–1 or 0–255 (a nearly black image as uint8)."
        )
    if low < -_NOTED_EXCESS * top or high > (1 + _NOTED_EXCESS) * top:
        note = f"float values from {plain_range(low, high)} read as 0–{top:g}, the rest clipped"
    return pixels, note
