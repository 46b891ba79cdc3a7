"""`ChannelAtlas`: browses the channels of a set's result, without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import proxy

import ipywidgets as widgets
import numpy as np
from traitlets import Enum, Unicode, observe, validate

from vgg_widget.explorer import parts
from vgg_widget.explorer.atlas.histogram import Bar, bars_of, histogram_svg, static_picture
from vgg_widget.explorer.atlas.patch_cards import STATISTIC_WORDS, PatchCards, failed_words
from vgg_widget.explorer.box import ExplorerBox
from vgg_widget.explorer.settings import WholeNumber, as_trait_error, is_top_activations
from vgg_widget.pictures.rendering import checked_channel
from vgg_widget.support.messages import briefly, plain_number

if TYPE_CHECKING:
    # An explorer of a single image does not need that package.
    from vgg_widget.dataset.result import TopActivations

ATLAS_ORDERS = ("number", "value", "fraction active")
"""Orders of the slider's channels: by number, by largest value, or by share of images."""


class ChannelAtlas(ExplorerBox):
    """Browse the channels of a set's result: strongest patches, histogram, mean.

    It computes nothing and needs no network. A file from `TopActivations.save` is enough; the
    patches also need the images, unchanged and at their old paths.

    Parameters
    ----------
    top : TopActivations
        A result of `vgg_widget.dataset.top_activations` or `TopActivations.load`.
    layer : str, optional
        A Keras or torchvision name; by default the first layer whose units see at least 32
        pixels a side, since smaller patches show little, or else the set's first layer.
    channel : int
        Its index.
    order : {"number", "value", "fraction active"}
        The order of the slider: the lowest number first, or the channel with the largest value,
        or the channel that most images activate.
    **layout
        Fields of `ipywidgets.Layout`, such as ``width="700px"``.

    Raises
    ------
    TypeError
        If `top` is not a `TopActivations`, or an argument is unknown.
    TraitError
        If the layer, channel or order does not exist.

    Examples
    --------
    >>> from vgg_widget import ChannelAtlas, FeatureExtractor, sample_image
    >>> from vgg_widget.dataset import top_activations
    >>> extractor = FeatureExtractor("random", size=64)
    >>> photographs = {"up": sample_image(), "down": sample_image()[::-1]}
    >>> top = top_activations(extractor, photographs, layers="block2_conv1", progress=False)
    >>> atlas = ChannelAtlas(top, channel=5)
    >>> atlas.order = "value"
    >>> atlas.close()
    """

    layer = Unicode(help="Name of the current layer, in Keras's or torchvision's naming.")
    channel = WholeNumber(0, help="Current channel; from 0.")
    order = Enum(ATLAS_ORDERS, "number", help="Order of the channels on the slider; see above.")

    _settable = frozenset(("layer", "channel", "order"))
    _noun, _advice = "atlas", "make a new ChannelAtlas"
    _picklable = "its top"
    _cards: PatchCards

    def __init__(
        self,
        top: TopActivations,
        *,
        layer: str | None = None,
        channel: int = 0,
        order: str = "number",
        **layout: Any,
    ) -> None:
        if not is_top_activations(top):
            raise TypeError(
                f"top {briefly(top)} is not a TopActivations: pass a result of "
                "vgg_widget.dataset.top_activations, or TopActivations.load(path)."
            )
        if not len(top):
            raise ValueError("top has no layers: compute it with at least one.")
        self._check_layout(layout, {"layer", "channel", "order"})
        self._top = top
        self._shown: tuple[str, int, str] | None = None
        self._ranked: tuple[int, ...] = ()
        try:
            super().__init__(layout=widgets.Layout(**{"width": "100%", **layout}))
            self._closed = False
            with self.hold_trait_notifications():
                self.layer = top.readable_layer if layer is None else layer
                self.channel, self.order = channel, order
            with self._changing():
                self._build()
                self._show()
        except BaseException:
            # A half-built atlas would stay in the widget registry forever.
            self.close()
            raise

    @property
    def top(self) -> TopActivations:
        """The set's result."""
        return self._top

    # --- traits

    @validate("layer")
    def _valid_layer(self, proposal: dict[str, Any]) -> str:
        name = str(proposal["value"])
        as_trait_error(self._top.__getitem__, name)
        return self._top.aliases.get(name, name)

    @validate("channel")
    def _valid_channel(self, proposal: dict[str, Any]) -> int:
        number, layer = proposal["value"], self.layer
        return int(as_trait_error(checked_channel, "channel", number, layer, self._count(layer)))

    def _count(self, layer: str) -> int:
        return len(self._top[layer].values)

    @observe("layer", "channel", "order")
    def _changed(self, _: object) -> None:
        with self._changing():
            if self._shown is None or self._closed or self._defer_to_leader():
                return
            last = self._count(self.layer) - 1
            if self.channel > last:
                # Calls this method again.
                self.channel = last
            else:
                self._show()

    def _apply_deferred(self) -> None:
        self._changed(None)

    def _recover_from_interrupt(self) -> None:
        if self._shown is not None and not self._closed:
            self._changed(None)
            self._report_interrupt(f"channel {self.channel} of layer {self.layer}")

    # --- the parts

    def _build(self) -> None:
        from vgg_widget.explorer.helper import ROOT_CLASS, PageHelper

        self._problem = parts.words(
            "vgg-problem", display="none", max_width=parts.WIDTH, margin=None
        )
        layers = [(f"{name} · {self._count(name)} channels", name) for name in self._top]
        self._layers = parts.dropdown("layer", layers, "2px 10px 2px 0")
        self._slider, self._number = parts.channel_controls("1 1 200px", "400px", "2px 14px 2px 0")
        self._orders = parts.dropdown("order", ATLAS_ORDERS)
        self._caption = parts.words("vgg-caption", max_width=parts.WIDTH)
        self._histogram = parts.words(
            "vgg-words", margin="4px 0 0 0", width="100%", max_width=parts.WIDTH
        )
        # The parts hold weak references, so that the atlas is freed with its last variable.
        atlas: Any = proxy(self)
        self._cards = PatchCards(atlas)
        self._page = PageHelper(lambda _: None, report=self.reporting_errors)
        self.on_change(self._layers, lambda layer: atlas.set_trait("layer", layer))
        # A bound method would keep the atlas alive.
        self.on_change(self._slider, lambda place: atlas.show_ranked(place))  # noqa: PLW0108
        self.on_typed(lambda channel: atlas.set_trait("channel", channel), self._number)
        self.on_change(self._orders, lambda order: atlas.set_trait("order", order))
        self.add_class(ROOT_CLASS)
        self.children = (
            parts.wide_row([self._layers, self._slider, self._number, self._orders]),
            self._problem,
            self._caption,
            self._cards.widget,
            self._histogram,
            self._page,
        )
        self._built = True

    def show_ranked(self, place: int) -> None:
        """Show the channel at a position of the current order, from 0."""
        self.channel = self._ranked[place]

    def _show(self) -> None:
        """Update everything to the traits."""
        requested = (self.layer, self.channel, self.order)
        if requested == self._shown:
            return
        layer, channel, order = self._shown = requested
        self._ranked = _ranked(self._top, layer, order)
        with self.showing_controls():
            parts.set_value(self._layers, layer)
            parts.set_value(self._orders, order)
            place = self._ranked.index(channel)
            parts.set_number(self._slider, place, len(self._ranked))
            self.show_typed(self._number, channel)
        self.show_error(None)
        self._caption.value = parts.paragraph(_caption(self._top, layer, channel))
        what = f"Number of images by the map's {STATISTIC_WORDS[self._top.statistic]}"
        bars = self._bars()
        self._histogram.value = parts.paragraph(what) + histogram_svg(bars, what) if bars else ""
        self._cards.show(
            self._top,
            layer,
            channel,
            f"Channel {channel}: the images that activate it most. Each is cropped to what the "
            "unit at its peak sees, in the pixels that the network saw.",
        )

    def _bars(self) -> list[Bar]:
        found = self._top[self.layer].histogram[self.channel]
        return bars_of(found, self._top.histogram_edges)

    # --- display and closing

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{self.layer}, channel {self.channel}"
        return f"<ChannelAtlas: {state}>"

    def to_bytes(self) -> bytes:
        """Return a picture of the current state as PNG; reads the patches if necessary."""
        with self._lock:
            self._require_open()
            found = self._cards.read(self._top, self.layer, self.channel)
            words = _caption(self._top, self.layer, self.channel)
            return static_picture(found, self._bars(), words)

    _static_png = to_bytes

    def close(self) -> None:
        """Remove it from the page and free its widgets; closing twice does no harm."""
        with self._changing():
            if not self._closed:
                self._close_with(self._page)


def _ranked(top: TopActivations, layer: str, order: str) -> tuple[int, ...]:
    """Return a layer's channels in an order; equal channels keep their order."""
    strongest = top[layer]
    if order == "number":
        return tuple(range(len(strongest.values)))
    by = strongest.values[:, 0] if order == "value" else strongest.fraction_active
    # A channel without a finite value comes last.
    keys = np.where(np.isnan(by), -np.inf, by)
    return tuple(np.argsort(-keys, kind="stable").tolist())


def _caption(top: TopActivations, layer: str, channel: int) -> str:
    strongest = top[layer]
    counted = int(strongest.counted[channel])
    statistic = STATISTIC_WORDS[top.statistic]
    what = f"{layer} channel {channel} of {len(strongest.values)}"
    if not counted:
        return f"{what}: its {statistic} is finite on none of the images."
    return (
        f"{what}: over {counted:,} images{failed_words(top)} the map's {statistic} is "
        f"{plain_number(strongest.mean[channel], 4)} on average, and "
        f"{strongest.fraction_active[channel]:.1%} of them activate it; {top.weights.label}."
    )
