"""An explorer as text: the state that restores it, and Python code without a widget."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from vgg_widget.activations.mapping import Activations
from vgg_widget.circuit.inputs import check_made_by
from vgg_widget.explorer.settings import CLASS_METHOD, SETTINGS, DisplaySettings
from vgg_widget.images import ImageReading, sample_image
from vgg_widget.network.extractor import FeatureExtractor
from vgg_widget.pictures.colormaps import DEFAULT_CMAP, find_cmap
from vgg_widget.pictures.modes import find_mode
from vgg_widget.pictures.scaling import Scale
from vgg_widget.predictions import checked_top

_STATE_VERSION = 1


def write_state(
    settings: DisplaySettings, extractor: FeatureExtractor | None, more: Mapping[str, Any]
) -> dict[str, Any]:
    """Return an explorer's settings and network as a JSON-able dict."""
    channels = settings.channels
    return {
        "version": _STATE_VERSION,
        **asdict(settings),
        "channels": channels if isinstance(channels, str) else list(channels),
        "location": None if settings.location is None else list(settings.location),
        **more,
        **({} if extractor is None else _network_in_words(extractor)),
    }


def _network_in_words(extractor: FeatureExtractor) -> dict[str, Any]:
    weights = extractor.weights
    return {
        "size": extractor.size,
        "weights": weights.path if weights.source == "file" else weights.source,
        "network": extractor.network,
    }


def read_state(state: object, more: dict[str, Any], *, computed: bool = False) -> dict[str, Any]:
    """Return the explorer's arguments described by a state; `more` takes precedence.

    If the activations are `computed` already, no network is made. Raises ValueError, which names
    the key, if the state was not returned by `write_state`.
    """
    if not isinstance(state, dict) or state.get("version") != _STATE_VERSION:
        version = state.get("version") if isinstance(state, dict) else type(state).__name__
        raise ValueError(
            f"state of version {version!r} is unknown: pass a result of LayerExplorer.state()."
        )
    usual = state.get("usual_cmap", DEFAULT_CMAP)
    try:
        find_cmap(usual)
    except ValueError as error:
        raise ValueError(f"usual_cmap of the state cannot be used: {error}") from error
    known = (*SETTINGS, "layer_names", "theme", "panel", "predict", "size", "weights", "network")
    found = {name: state[name] for name in known if name in state}
    if "top" in state and "top" not in more:
        # The former name of `predict`.
        found["predict"] = None if state["top"] is None else checked_top(state["top"])
    if isinstance(found.get("size"), list):
        found["size"] = tuple(found["size"])
    implied = {"extractor": ("weights", "network", "size"), "model": ("weights", "network")}
    without = [implied[one] for one in implied if more.get(one) is not None or computed]
    for name in chain.from_iterable(without):
        found.pop(name, None)
    if found.get("weights") == "model":
        raise ValueError(
            "state is from a model of your own, which it cannot contain: pass model=... or "
            "extractor=... as well."
        )
    if found.get("weights") == "state_dict" and "weights" not in more:
        raise ValueError(
            "state uses weights from a state dict, which it cannot contain: pass weights=... as "
            "well."
        )
    return {**found, **more}


def script(
    readings: Sequence[ImageReading],
    activations: Activations,
    extractor: FeatureExtractor | None,
    settings: DisplaySettings,
) -> str:
    """Write a script that makes the picture, or both pictures, without a widget.

    `activations` are those of the first image. If the extractor did not compute them, or an image
    has no path, the script leaves a gap for the user to fill, with a comment.
    """
    code = _code_of(extractor, activations)
    names = {"FeatureExtractor"} if code else {"Activations"}
    more = []
    layer = repr(settings.layer_in(activations))
    options = settings.for_render()
    arguments = ", ".join(f"{name}={value!r}" for name, value in options.items())
    label = _one_line(activations.weights.label)
    making = f"extractor = {code}  # {label}"
    sources = [f"...  # {label}: put Activations.load('x.npz') here"] * len(readings)
    if code:
        functions = [_image_code(reading) for reading in readings]
        names = names.union(*(needs for needs, _ in functions))
        sources = [source for _, source in functions]
    if len(readings) == 2:
        makes = "pair" if code else "Pair"
        more.append(f"from vgg_widget.pictures.comparing import {makes}, render_pair")
        lines = [f"first = {sources[0]}", f"second = {sources[1]}"]
        lines += (
            [making, "both = pair(extractor, first, second)"]
            if code
            else ["both = Pair.of(first, second)"]
        )
        lines.append(f"renderings = render_pair(both, {layer}, {arguments})")
    else:
        names |= {"plot", "render"}
        computing = [f"image = {sources[0]}", making, "activations = extractor(image)"]
        lines = [
            *(computing if code else [f"activations = {sources[0]}"]),
            f"picture = dict({arguments})",
            f"rendering = render(activations, {layer}, **picture)",
            f"axes = plot(activations, {layer}, **picture)",
        ]
    if code and settings.attribution is not None:
        more.append("from vgg_widget.gradients import attribute")
        how = _attribution_code(settings, layer)
        each = {"found": "activations"}
        if len(readings) == 2:
            each = {"found": "both.first", "other": "both.second"}
        lines += [f"{name} = attribute(extractor, {of}, {how})" for name, of in each.items()]
    if isinstance(options.get("scale"), Scale):
        more.append("from vgg_widget.pictures.scaling import Scale")
    if not find_mode(settings.mode).built_in:
        lines.insert(0, f"# Mode {settings.mode!r} must be registered first.")
    head = [f"from vgg_widget import {', '.join(sorted(names))}", *more, ""]
    return "\n".join([*head, *lines, ""])


def _attribution_code(settings: DisplaySettings, layer: str) -> str:
    """Return the arguments of `attribute` for the map over the input."""
    method = f"method={settings.attribution!r}"
    if settings.attribution == CLASS_METHOD:
        return f"{layer}, {method}, target={settings.attribution_class!r}"
    return f"{layer}, {settings.channel}, {settings.location}, {method}"


def _code_of(extractor: FeatureExtractor | None, activations: Activations) -> str:
    """Return the expression for the network; "" if it did not compute the activations."""
    if extractor is None:
        return ""
    try:
        check_made_by(extractor, activations)
    except ValueError:
        return ""
    return extractor.to_code()


def _one_line(words: str) -> str:
    # A file name may contain a line break, which would end the comment.
    return "".join(letter if letter.isprintable() else " " for letter in words)


def _image_code(reading: ImageReading) -> tuple[set[str], str]:
    """Return the functions that an image's expression needs, and the expression."""
    if reading.origin is not None:
        return {"load_image"}, f"load_image({reading.origin!r})"
    if np.array_equal(reading.pixels, sample_image()):
        return {"sample_image"}, "sample_image()"
    if reading.name:
        note = "not read from a path: save this file beside your script, or put its path here"
        return set(), f"{reading.name!r}  # {note}"
    return set(), "...  # made in memory: put the image here, or the path of its file"


def check_suffix(suffix: str, path: str, *, arrays: bool) -> None:
    """Raise ValueError unless the suffix is a picture format; `arrays` also allows ``.npz``."""
    if suffix not in (".png", ".svg", ".pdf"):
        ending = f"ends in {suffix!r}" if suffix else "has no suffix"
        more = ", or .npz for the activations" if arrays else ""
        raise ValueError(
            f"path {path!r} {ending}: choose .png, .svg or .pdf for the picture{more}."
        )


def name_of_picture(settings: DisplaySettings) -> str:
    """Return a file name for a picture, without its suffix, such as ``block3_conv1-max``."""
    layer = re.sub(r"[^\w.]+", "_", settings.layer)
    mode = re.sub(r"\W+", "_", settings.mode)
    number = settings.channel if find_mode(settings.mode).takes == "one" else ""
    return f"{layer}-{mode}{number}"


def name_of_arrays(reading: ImageReading) -> str:
    """Return a file name for an image's activations."""
    stem = re.sub(r"[^\w. -]+", "_", Path(reading.origin or reading.name).stem)
    return f"{stem}-activations.npz" if stem else "activations.npz"
