"""Arguments of this package's functions, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vgg_widget.pictures.rendering import checked_channel
from vgg_widget.support.messages import briefly, unknown_choice

Floats = npt.NDArray[np.float32]
Method = Literal[
    "gradient", "gradient_x_input", "smoothgrad", "integrated_gradients", "occlusion", "grad_cam"
]

METHODS: tuple[Method, ...] = (
    "gradient",
    "gradient_x_input",
    "smoothgrad",
    "integrated_gradients",
    "occlusion",
    "grad_cam",
)
"""The methods of `attribute`."""

METHOD_NAMES: Mapping[str, str] = {
    "gradient": "gradient",
    "gradient_x_input": "gradient × input",
    "smoothgrad": "SmoothGrad",
    "integrated_gradients": "integrated gradients",
    "occlusion": "occlusion",
    "grad_cam": "Grad-CAM",
}
"""The methods' display names."""

GAP = 0.05
"""Largest acceptable relative gap of a map's sum, after Sundararajan et al."""

# Arguments that only some methods use.
_METHODS_USING: Mapping[str, tuple[Method, ...]] = {
    "channel": METHODS[:-1],
    "location": METHODS[:-1],
    "target": ("grad_cam",),
    "baseline": ("gradient_x_input", "integrated_gradients", "occlusion"),
    "samples": ("smoothgrad", "integrated_gradients"),
    "noise": ("smoothgrad",),
    "window": ("occlusion",),
    "step": ("occlusion",),
}
_SAMPLES = {"smoothgrad": 25, "integrated_gradients": 50}
_NOISE = 0.15
# More noise would leave nothing of the image.
_MOST_NOISE = 10
# Grey as in Zeiler & Fergus; the usual black for the others.
_BASELINES = {"occlusion": 128.0, "gradient_x_input": 0.0, "integrated_gradients": 0.0}


@dataclass(frozen=True, slots=True, eq=False)
class Choices:
    """The arguments of a method, checked as far as possible without an image."""

    method: Method
    target: str | int | None
    samples: int
    noise: float
    window: int | None
    step: int | None
    seed: int
    baseline: object = field(repr=False)

    def baseline_for(self, size: tuple[int, int]) -> Floats | None:
        """Return the baseline, a colour or image of this size, or None if there is none."""
        if self.method not in _BASELINES:
            return None
        if self.baseline is None:
            return np.full(3, _BASELINES[self.method], np.float32)
        try:
            found = np.asarray(self.baseline, np.float32)
        except (TypeError, ValueError):
            found = np.empty(0, np.float32)
        fits = found.shape in ((3,), (*size, 3))
        if not fits or not ((found >= 0) & (found <= 255)).all():
            text = briefly(self.baseline)
            if found.ndim > 1:
                text = f"of shape {found.shape}"
                text += f", from {found.min():g} to {found.max():g}," if fits else ""
            raise ValueError(
                f"baseline {text} is neither a colour nor an image: pass red, green and blue from "
                "0 to 255, such as (0, 0, 0), or an array of them for each pixel, of shape "
                f"{(*size, 3)}."
            )
        return found.copy()


def checked_choices(method: Method, **given: Any) -> Choices:
    """Return the checked arguments, or raise ValueError for the first that is invalid."""
    if method not in METHODS:
        raise ValueError(unknown_choice("method", method, METHODS))
    for name, value in given.items():
        if value is not None and method not in _METHODS_USING.get(name, METHODS):
            raise ValueError(
                f"{name} {briefly(value)} is not used by method {method!r}: leave it out, or pass "
                f"method={_METHODS_USING[name][0]!r}."
            )
    samples = whole_number("samples", given["samples"], least=1)
    return Choices(
        method,
        given["target"],
        _SAMPLES.get(method, 1) if samples is None else samples,
        _checked_noise(given["noise"]),
        whole_number("window", given["window"], least=1),
        whole_number("step", given["step"], least=1),
        whole_number("seed", given["seed"], least=0) or 0,
        given["baseline"],
    )


def whole_number(name: str, number: object, *, least: int) -> int | None:
    """Return a whole number, or None for None; raise ValueError for anything else."""
    return None if number is None else whole(name, number, least=least, advice="or leave it out")


def whole(name: str, number: object, *, least: int, advice: str = "such as 10") -> int:
    """Return a whole number, or raise ValueError."""
    if not isinstance(number, int | np.integer) or isinstance(number, bool) or number < least:
        raise ValueError(
            f"{name} {briefly(number)} is not a whole number of at least {least}: pass one, "
            f"{advice}."
        )
    return int(number)


def checked_channels(name: str, channels: Any, layer: str, count: int) -> tuple[int, ...]:
    """Return one or several channel numbers as a tuple of ints, or raise ValueError."""
    try:
        numbers = (channels,) if isinstance(channels, str) else tuple(channels)
    except TypeError:
        numbers = (channels,)
    if not numbers:
        raise ValueError(
            f"{name} {channels!r} names no channel: pass at least one, such as (3, 17)."
        )
    return tuple(checked_channel(name, one, layer, count) for one in numbers)


def check_finite(layer: str, *numbers: npt.NDArray[Any], so: str) -> None:
    """Raise ValueError for NaN or infinite values or gradients, which mean that `so` holds."""
    if not all(np.isfinite(each).all() for each in numbers):
        raise ValueError(
            f"layer {layer!r} has NaN or infinite values or gradients, so {so}: check the weights, "
            "or the preprocess function."
        )


def _checked_noise(noise: Any) -> float:
    if noise is None:
        return _NOISE
    real = isinstance(noise, int | float | np.integer | np.floating) and not isinstance(noise, bool)
    if not real or not 0 <= noise <= _MOST_NOISE:
        raise ValueError(
            f"noise {briefly(noise)} is not a valid share of the image's range of values: pass a "
            f"number from 0 to {_MOST_NOISE}, such as {_NOISE}."
        )
    return float(noise)
