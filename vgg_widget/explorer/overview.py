"""Overviews: the network as a strip, and a layer's most telling channels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any
from weakref import ref

import ipywidgets as widgets
from matplotlib.colors import Colormap

from vgg_widget.activations.mapping import Activations
from vgg_widget.activations.telling import telling_channels
from vgg_widget.explorer import parts
from vgg_widget.explorer.picture_strip import PictureStrip, thumbnail
from vgg_widget.explorer.settings import DisplaySettings
from vgg_widget.pictures.colormaps import DEFAULT_CMAP, SIGNED_CMAP, find_cmap
from vgg_widget.pictures.modes import coloured, find_mode
from vgg_widget.pictures.scaling import as_scale, range_on

if TYPE_CHECKING:
    from vgg_widget.explorer.base import ExplorerBase
    from vgg_widget.layers import LayerInfo

MOST_LAYERS = 30
"""With more layers than this, their buttons would fill the page: only the dropdown lists them."""

MOST_CHANNELS = 8
"""How many channels the filmstrip shows."""

# Pixels of the longer side. The page scales down, or enlarges small maps without blurring.
_SIDE = 112


class NetworkStrip:
    """The image and the network's blocks, with a small button for each layer of a block."""

    def __init__(self, explorer: ExplorerBase) -> None:
        self._explorer = explorer
        self._activations_ref: Callable[[], Activations | None] = lambda: None
        self._shown = ("", "")
        self._pictures: dict[str, bytes] = {}
        self.widget = PictureStrip(label="layers of the network").add_class("vgg-network")
        explorer.on_change(self.widget, self._chosen)

    def _chosen(self, layer: str) -> None:
        explorer = self._explorer
        explorer.choose(layer=explorer.settings.name_of(layer, explorer.measured))

    def show(self, settings: DisplaySettings, activations: Activations) -> None:
        """Update the strip to the settings."""
        few = len(activations) <= MOST_LAYERS
        layer = activations.info(settings.layer).name
        parts.display(self.widget, shown=few)
        if not few:
            # The page still chooses layers through it.
            parts.set_value(self.widget, layer)
            return
        if self._activations_ref() is not activations or self._shown != (layer, settings.cmap):
            if self._activations_ref() is not activations or self._shown[1] != settings.cmap:
                self._pictures = {"": thumbnail(activations.image, _SIDE)}
            self._activations_ref, self._shown = ref(activations), (layer, settings.cmap)
            blocks = [
                list(layers) for _, layers in groupby(activations.layers, lambda one: one.block)
            ]
            # A block shows the current layer's picture and size, or else its first layer's.
            faces = [
                layer if layer in (one.name for one in layers) else layers[0].name
                for layers in blocks
            ]
            for face in faces:
                if face not in self._pictures:
                    cmap = find_cmap(settings.cmap)
                    self._pictures[face] = _first_map(activations, face, cmap)
            pictures = [self._pictures[face] for face in ("", *faces)]
            items = map(partial(_block_item, activations), blocks, faces)
            self.widget.fill([{"title": "picture"}, *items], pictures)
        parts.set_value(self.widget, layer)


def _block_item(activations: Activations, layers: list[LayerInfo], face: str) -> dict[str, Any]:
    rows, columns, channels = activations.shape(face)
    buttons, number = [], 0
    for info in layers:
        height, width, count = activations.shape(info.name)
        pool = info.kind == "pool"
        number += not pool
        buttons.append(
            {
                "label": "pool" if pool else str(number),
                "value": info.name,
                "tip": f"{info.name} · {height} × {width} × {count}",
            }
        )
    title = layers[0].block
    return {
        "title": title.replace("block", "block ") if title[-1:].isdigit() else title,
        "value": face,
        "tip": f"{face} · {rows} × {columns} × {channels}",
        "buttons": buttons,
        "note": f"{rows} × {columns} × {channels}",
    }


def _first_map(activations: Activations, layer: str, cmap: Colormap) -> bytes:
    (channel,) = telling_channels(activations, layer, 1).tolist()
    return _small_map(activations, layer, channel, cmap)


def _small_map(activations: Activations, layer: str, channel: int, cmap: Colormap) -> bytes:
    values = activations.of_channels(layer, [channel])[..., 0]
    signed = activations.signed(layer)
    if cmap.name == SIGNED_CMAP and not signed:
        # The signed colormap's middle stands for 0, which here is the minimum.
        cmap = find_cmap(DEFAULT_CMAP)
    limits = range_on(as_scale("auto"), layer, values, activations.top, signed=signed)
    step = max(1, max(values.shape) // _SIDE)
    return thumbnail(coloured(limits.normalise(values[::step, ::step]), cmap), _SIDE)


class Filmstrip:
    """The layer's most telling channels as small pictures to click on."""

    def __init__(self, explorer: ExplorerBase) -> None:
        self._explorer = explorer
        self._activations_ref: Callable[[], Activations | None] = lambda: None
        self._shown = ("", "")
        self._words = parts.words("vgg-words")
        self._all = parts.button("all ▸", "all channels of the layer side by side")
        self.strip = PictureStrip(label="most telling channels").add_class("vgg-channels")
        explorer.on_change(self.strip, lambda channel: explorer.choose(channel=channel))
        self._all.on_click(explorer.reporting_errors(lambda _: explorer.choose(mode="grid")))
        self._all.layout.margin = "2px 2px 2px 10px"
        self._back = parts.button("◂ back", "back to the view before (Backspace)")
        # A bound method would keep the explorer alive.
        self._back.on_click(explorer.reporting_errors(lambda _: explorer.back()))
        head = parts.row([self._words, self._all, self._back], align_items="center")
        self.widget = widgets.VBox([head, self.strip], layout=widgets.Layout(width="100%"))

    def show(self, settings: DisplaySettings, activations: Activations) -> None:
        """Update the strip to the settings."""
        shown = find_mode(settings.mode).takes == "one"
        parts.display(self.widget, shown=shown)
        parts.display(self._back, shown=self._explorer.can_go_back)
        if not shown:
            return
        layer = settings.layer_in(activations)
        if self._activations_ref() is not activations or self._shown != (layer, settings.cmap):
            self._activations_ref, self._shown = ref(activations), (layer, settings.cmap)
            channels = telling_channels(activations, layer, MOST_CHANNELS).tolist()
            cmap = find_cmap(settings.cmap)
            self.strip.fill(
                [{"title": str(c), "value": c, "tip": f"channel {c}"} for c in channels],
                [_small_map(activations, layer, channel, cmap) for channel in channels],
            )
            count = activations.info(layer).channels
            words = f"{len(channels)} channels that differ most here: click on one"
            parts.set_value(self._words, parts.paragraph(words if count > 1 else ""))
            parts.set_value(self._all, f"all {count} ▸", "description")
            parts.display(self._all, shown=count > 1)
        parts.set_value(self.strip, settings.channel)
