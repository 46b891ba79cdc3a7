"""The panel that explains a value: which input pixels it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import numpy as np

from vgg_widget.activations.mapping import Activations
from vgg_widget.explorer import parts
from vgg_widget.explorer.panels.panel import Panel
from vgg_widget.explorer.settings import ATTRIBUTION_OPACITY, CLASS_METHOD
from vgg_widget.gradients.arguments import METHOD_NAMES
from vgg_widget.gradients.picture import attribution_pictures
from vgg_widget.pictures.modes import find_mode
from vgg_widget.support.messages import plain_number

if TYPE_CHECKING:
    from vgg_widget.explorer.base import ExplorerBase
    from vgg_widget.gradients.result import Attribution

# CSS pixels: two cards fit side by side in a narrow cell.
_SIDE = 196

_MEANINGS = {
    "gradient": "how much the value changes when a pixel becomes one level (of 255) brighter",
    "gradient_x_input": "how much each pixel adds to the value, relative to black, if the network "
    "is treated as linear here",
    "smoothgrad": "the mean of the gradients of {samples} noisy copies of the image",
    "integrated_gradients": "how much each pixel adds to the value on the way from black to the "
    "image, in {samples} steps",
    "occlusion": "how much the value drops when a grey square of {window} × {window} pixels "
    "hides part of the image",
    "grad_cam": "where the layer has evidence for the class",
}


_DEAD = (
    'The value is 0 after the ReLU, so no pixel changes it: press b, or check "before ReLU" '
    "under Display, for the value before it."
)


class WhyPanel(Panel):
    """The method, and for each image the explained part, its map, and one with shuffled weights."""

    def __init__(self, explorer: ExplorerBase) -> None:
        super().__init__(explorer)
        classes = explorer.predicts or explorer.measured.weights.source == "model"
        methods = [
            (name, method)
            for method, name in METHOD_NAMES.items()
            if classes or method != CLASS_METHOD
        ]
        self._methods = [("off", ""), *methods]
        self.method = parts.dropdown("method", self._methods, "2px 10px 2px 0")
        self.target = widgets.Text(
            description="class",
            placeholder="the most probable",
            continuous_update=False,
            layout=widgets.Layout(width="240px", margin="2px 10px 2px 0"),
            style=parts.FITTING,
        )
        self.randomised = parts.dropdown("randomised from", [("nowhere", "")], "2px 10px 2px 0")
        self.words = parts.words("vgg-words", width="100%", max_width=parts.WIDTH)
        # A fixed height, so that nothing moves when it is empty.
        self.status = parts.words("vgg-words", max_width=parts.WIDTH, min_height="20px")
        self.cards = tuple(_Card(_SIDE) for _ in range(3 * len(explorer.each_measured)))
        rows = [
            parts.row([one.widget for one in self.cards[begin : begin + 3]], max_width=parts.WIDTH)
            for begin in range(0, len(self.cards), 3)
        ]
        self.shown = widgets.VBox([self.words, *rows], layout=widgets.Layout(width="100%"))
        controls = parts.wide_row([self.method, self.target, self.randomised])
        self.widget = widgets.VBox(
            [controls, self.status, self.shown], layout=widgets.Layout(width="100%")
        )
        explorer.on_change(self.method, lambda method: explorer.choose(attribution=method or None))
        explorer.on_typed(self._class_typed, self.target)
        explorer.on_change(
            self.randomised, lambda layer: explorer.attributing.randomise_from(layer or None)
        )

    def welcome(self) -> None:
        """Show a map at once."""
        if self._explorer.settings.attribution is None:
            self._explorer.choose(attribution="gradient")

    def _class_typed(self, text: str) -> None:
        text = text.strip()
        number = int(text) if text.removeprefix("-").isdecimal() else text
        self._explorer.choose(attribution_class=None if text == "" else number)

    def show(self) -> None:
        """Update the panel to the current state."""
        explorer = self._explorer
        settings, attributing = explorer.settings, explorer.attributing
        method = settings.attribution
        parts.set_choice(self.method, self._methods, method or "")
        chosen = settings.attribution_class
        explorer.show_typed(self.target, "" if chosen is None else str(chosen))
        self._show_layers()
        parts.display(self.target, shown=method == CLASS_METHOD)
        parts.display(self.randomised, shown=method is not None)
        self.status.value = parts.status(attributing.progress)
        if attributing.progress and not any(attributing.maps):
            # The previous content stays, faintly, until there is something new.
            self.shown.add_class("vgg-waiting")
            return
        self.shown.remove_class("vgg-waiting")
        maps, randomised = attributing.maps, attributing.randomised_maps
        self.words.value = self._text(maps)
        each = explorer.each_measured
        for number, activations in enumerate(each):
            which = f"{('first', 'second')[number]}: " if len(each) > 1 else ""
            seen, true, other = self.cards[3 * number : 3 * number + 3]
            found = maps[number] if maps else None
            if found is None:
                seen.hide()
            else:
                image = _cut(activations.image, found)
                seen.show(image, f"the input's {_box_words(found)}", f"{which}what it sees")
            true.show_map(activations.image, maps, number, which)
            other.show_map(activations.image, randomised, number, which)

    def _show_layers(self) -> None:
        activations, settings = self._explorer.measured, self._explorer.settings
        names = list(activations)
        last = names.index(activations.info(settings.layer).name)
        # Deepest first: the test begins there, and few layers lie above a unit.
        layers = [("nowhere", ""), *((f"{name} on", name) for name in reversed(names[: last + 1]))]
        chosen = self._explorer.attributing.randomised or ""
        with self.randomised.hold_sync():
            parts.set_value(self.randomised, tuple(layers), "options")
            parts.set_value(self.randomised, chosen if chosen in names[: last + 1] else "")

    def _text(self, maps: tuple[Attribution | None, ...]) -> str:
        explorer = self._explorer
        attributing, settings = explorer.attributing, explorer.settings
        if settings.attribution is None:
            return parts.paragraph(
                "Choose a method to see which pixels of the input the value comes from."
            )
        lines = []
        found = [one for one in maps if one is not None]
        if found:
            several = find_mode(settings.mode).takes != "one"
            lines += _lines(found, _field_words(explorer.measured, found), several=several)
            messages = list(dict.fromkeys(one.message for one in found if one.message))
            rectified = not settings.shows_before_relu(explorer.measured)
            if any(one.dead and one.value == 0 for one in found) and rectified:
                messages = [_DEAD]
            lines += messages
        if attributing.problem:
            lines.append(attributing.problem)
        return "".join(map(parts.paragraph, lines))


class _Card(parts.PictureCard):
    """An image patch, or a map over it."""

    def show_map(
        self, image: Any, maps: tuple[Attribution | None, ...], number: int, which: str
    ) -> None:
        """Show one of the maps over its image, with the same colour range for all maps."""
        every = [one for one in maps if one is not None]
        found = maps[number] if maps else None
        if found is None:
            self.hide()
            return
        picture = attribution_pictures(every)[every.index(found)]
        over = picture.rgba[..., :3] * ATTRIBUTION_OPACITY
        mixed = np.rint(over + image * (1 - ATTRIBUTION_OPACITY)).astype(np.uint8)
        top = plain_number(picture.limits.vmax, 2)
        ends = f"±{top}" if found.signed else f"0 to {top}"
        name = METHOD_NAMES[found.method]
        line = which + (f"randomised from {found.randomised}" if found.randomised else name)
        words = (
            f"{line}, of layer {found.layer}, over the input's {_box_words(found)}: full colors "
            f"are {ends} {found.units}"
        )
        self.show(_cut(mixed, found), words, f"{line} · {ends}")


def _cut(image: Any, found: Attribution) -> Any:
    top, left, bottom, right = found.box
    return image[top:bottom, left:right]


def _box_words(found: Attribution) -> str:
    top, left, bottom, right = found.box
    return f"rows {top} to {bottom - 1} and columns {left} to {right - 1}"


def _lines(found: list[Attribution], field: str, *, several: bool) -> list[str]:
    one = found[0]
    values = " and ".join(plain_number(each.value, 4) for each in found)
    explained = one.target[:1].upper() + one.target[1:]
    lines = [f"{explained}: {values}."]
    if several and one.channel is not None:
        lines[0] += " (The mode shows several channels; this is about one of them.)"
    elif one.location is None and one.channel is not None:
        lines[0] += " Click on a picture to explain one unit."
    meaning = _MEANINGS[one.method].format(samples=one.samples, window=one.window)
    name = METHOD_NAMES[one.method]
    lines.append(f"{name[:1].upper()}{name[1:]}: {meaning}.")
    reading = ""
    if not all(each.dead for each in found):
        reading = "Red raises the value, blue lowers it." if one.signed else "Bright is evidence."
        reading += field
    # Where it does not add up, a message says so.
    if one.completeness is not None and not any(each.message for each in found):
        sums = " and ".join(str(each.completeness) for each in found)
        reading += f" The map adds up to {sums}: the value minus the value for black."
    return [*lines, reading.strip()] if reading else lines


def _field_words(activations: Activations, found: list[Attribution]) -> str:
    """Return how much of the maps lies in the receptive field; "" if that is unknown."""
    one = found[0]
    side = activations.info(one.layer).receptive_field
    if one.location is None or side is None:
        return ""
    share = min(_share_within(each) for each in found)
    height, width = one.box[2] - one.box[0], one.box[3] - one.box[1]
    words = f" {share:.0%} of the map lies in the receptive field, {side} × {side} pixels"
    if (height, width) == (side, side):
        return f"{words}."
    return f"{words}, of which {height} × {width} are in the image."


def _share_within(found: Attribution) -> float:
    whole = float(np.abs(found.values).sum(dtype=np.float64))
    return float(np.abs(_cut(found.values, found)).sum(dtype=np.float64)) / whole if whole else 1.0
