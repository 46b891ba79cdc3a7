"""`ChannelAtlas`: through the channels of a set's result, without a network."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import ipywidgets as widgets
import numpy as np
from traitlets import TraitError, Unicode, observe, validate

from vgg_widget.explorer.atlas_pictures import Bar, bars_of, histogram_svg, static_picture
from vgg_widget.explorer.complaints import Complaint
from vgg_widget.explorer.controls import (
    as_wide_as_its_words,
    display,
    paragraph,
    set_number,
)
from vgg_widget.explorer.displayed import NotCopied
from vgg_widget.explorer.host import heard
from vgg_widget.explorer.linked_changes import LOCK, followers_wait, waits
from vgg_widget.explorer.patch_cards import STATISTIC_WORDS, PatchCards, failed_words
from vgg_widget.explorer.trait_types import (
    WholeNumber,
    as_trait_error,
    check_layout,
    is_top_activations,
    widgets_of,
)
from vgg_widget.pictures.rendering import checked_channel
from vgg_widget.support.messages import briefly, unknown_choice

if TYPE_CHECKING:
    # Who looks at one image needs none of it.
    from vgg_widget.dataset.result import TopActivations
    from vgg_widget.explorer.page import Page

ATLAS_ORDERS = ("number", "value", "fraction active")
"""What the slider's channels can be ordered by: the largest value, the share of images."""

_WIDTH = "770px"


class ChannelAtlas(NotCopied, widgets.VBox):  # type: ignore[misc]
    """Look through the channels of a set's result: strongest patches, histogram, mean.

    It computes nothing, and needs no network: a file that `TopActivations.save` wrote is enough,
    and for the patches the pictures, where they were and unchanged.

    Parameters
    ----------
    top : TopActivations
        What `vgg_widget.dataset.top_activations` returned, or `TopActivations.load` read.
    layer : str, optional
        Keras's or torchvision's name; by default the set's first.
    channel : int
        Its number.
    order : {"number", "value", "fraction active"}
        What the slider goes through first: the lowest number, the channel with the largest value,
        or the one that the most images activate.
    **layout
        Fields of `ipywidgets.Layout`, such as ``width="700px"``.

    Raises
    ------
    TypeError
        If `top` is something else, or an argument is none.
    TraitError
        If there is no such layer, channel or order.

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

    layer = Unicode(help="Name of the layer on show; Keras's or torchvision's.")
    channel = WholeNumber(0, help="Channel on show; from 0.")
    order = Unicode("number", help="What channels are ordered by on the slider; see above.")

    _kept = "its top"
    # What stands until the constructor has come so far.
    _closed = True
    # An atlas may be linked to an explorer.
    _lock: ClassVar[threading.RLock] = LOCK
    _page: Page | None = None
    _cards: PatchCards | None = None

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
                f"top {briefly(top)} is no TopActivations: pass what "
                "vgg_widget.dataset.top_activations returned, or TopActivations.load(path)."
            )
        if not len(top):
            raise ValueError("top holds no layer: compute it with one at least.")
        check_layout(layout, {"layer", "channel", "order"})
        self._top = top
        self._shown: tuple[str, int, str] | None = None
        self._ranked: tuple[int, ...] = ()
        try:
            super().__init__(layout=widgets.Layout(**{"width": "100%", **layout}))
            self._closed = False
            with self.hold_trait_notifications():
                self.layer = next(iter(top)) if layer is None else layer
                self.channel, self.order = channel, order
            with self._lock:
                self._build()
                self._show()
        except BaseException:
            # Half an atlas would stay in the widget registry for ever.
            self.close()
            raise

    @property
    def top(self) -> TopActivations:
        """The set's result."""
        return self._top

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    # --- what is asked for

    @validate("layer")
    def _valid_layer(self, proposal: dict[str, Any]) -> str:
        self._require_open()
        name = str(proposal["value"])
        as_trait_error(self._top.__getitem__, name)
        return self._top.aliases.get(name, name)

    @validate("channel")
    def _valid_channel(self, proposal: dict[str, Any]) -> int:
        self._require_open()
        number, layer = proposal["value"], self.layer
        return int(as_trait_error(checked_channel, "channel", number, layer, self._count(layer)))

    @validate("order")
    def _valid_order(self, proposal: dict[str, Any]) -> str:
        self._require_open()
        if proposal["value"] not in ATLAS_ORDERS:
            raise TraitError(unknown_choice("order", proposal["value"], ATLAS_ORDERS))
        return str(proposal["value"])

    def _require_open(self) -> None:
        if self._closed:
            raise RuntimeError("atlas is closed: make a new ChannelAtlas.")

    def _count(self, layer: str) -> int:
        return len(self._top[layer].values)

    @contextmanager
    def hold_trait_notifications(self) -> Iterator[None]:
        """Tell of changes at the end, as traitlets does; other threads and followers wait."""
        with followers_wait(self), super().hold_trait_notifications():
            yield

    @observe("layer", "channel", "order")
    def _changed(self, _: object) -> None:
        with self._lock:
            if self._shown is None or self._closed or waits(self, lambda: self._changed(None)):
                return
            last = self._count(self.layer) - 1
            if self.channel > last:
                # This comes back here.
                self.channel = last
            else:
                self._show()

    # --- the parts

    def _build(self) -> None:
        from vgg_widget.explorer.page import ROOT_CLASS, Page

        fitting = {"description_width": "max-content"}
        self._problem = widgets.HTML(layout=widgets.Layout(display="none", max_width=_WIDTH))
        self._layers = widgets.Dropdown(
            description="layer",
            options=[(f"{name} · {self._count(name)} channels", name) for name in self._top],
            style=fitting,
            layout=as_wide_as_its_words("2px 10px 2px 0"),
        )
        self._slider = widgets.IntSlider(
            description="channel",
            readout=False,
            style=fitting,
            layout=widgets.Layout(flex="1 1 200px", max_width="400px", margin="2px 6px 2px 0"),
        )
        self._number = widgets.BoundedIntText(
            tooltip="channel number",
            layout=widgets.Layout(width="72px", margin="2px 14px 2px 0"),
        )
        self._orders = widgets.Dropdown(
            description="order",
            options=list(ATLAS_ORDERS),
            style=fitting,
            layout=as_wide_as_its_words(),
        )
        self._caption = widgets.HTML(layout=widgets.Layout(margin="0", max_width=_WIDTH))
        self._histogram = widgets.HTML(
            layout=widgets.Layout(margin="4px 0 0 0", width="100%", max_width=_WIDTH)
        )
        self._histogram.add_class("vgg-words")
        self._cards = PatchCards(self)
        self._page = Page(lambda _: None, guard=self.guard)
        for name in ("caption", "problem"):
            getattr(self, f"_{name}").add_class(f"vgg-{name}")
        for control, act in (
            (self._layers, lambda change: self.set_trait("layer", change["new"])),
            (self._slider, lambda change: self._slide(change["new"])),
            (self._number, lambda change: self.set_trait("channel", change["new"])),
            (self._orders, lambda change: self.set_trait("order", change["new"])),
        ):
            control.observe(heard(self, self._ordered(act)), "value")
        row = widgets.Layout(
            flex_flow="row wrap", align_items="center", width="100%", max_width=_WIDTH
        )
        self.add_class(ROOT_CLASS)
        self.children = (
            widgets.HBox([self._layers, self._slider, self._number, self._orders], layout=row),
            self._problem,
            self._caption,
            self._cards.widget,
            self._histogram,
            self._page,
        )

    def _ordered(self, act: Callable[[dict[str, Any]], object]) -> Callable[..., None]:
        """Return what follows a control; what it is brought to by `_show` is known already."""

        def told(change: dict[str, Any]) -> None:
            # What another thread brings meanwhile is somebody's order.
            if self._showing_thread != threading.get_ident():
                self.do(lambda: act(change))

        return told

    _showing_thread: int | None = None

    def _slide(self, place: int) -> None:
        self.channel = self._ranked[place]

    def _show(self) -> None:
        """Bring everything to the traits."""
        asked = (self.layer, self.channel, self.order)
        if asked == self._shown:
            return
        layer, channel, order = asked
        if self._shown is None or self._shown[0] != layer or self._shown[2] != order:
            self._ranked = _ranked(self._top, layer, order)
        self._shown = asked
        try:
            self._showing_thread = threading.get_ident()
            self._layers.value, self._orders.value = layer, order
            place = self._ranked.index(channel)
            for number, value in ((self._slider, place), (self._number, channel)):
                set_number(number, value, len(self._ranked))
        finally:
            self._showing_thread = None
        self._complain(None)
        self._caption.value = paragraph(_caption(self._top, layer, channel))
        what = f"How many images have which {STATISTIC_WORDS[self._top.statistic]} of the map"
        bars = self._bars()
        self._histogram.value = paragraph(what) + histogram_svg(bars, what) if bars else ""
        assert self._cards is not None
        self._cards.show(
            self._top,
            layer,
            channel,
            f"Channel {channel} on the images that it answers to most: of each, what the unit at "
            "its peak sees, in the pixels that the network saw.",
        )

    def _bars(self) -> list[Bar]:
        found = self._top[self.layer].histogram[self.channel]
        return bars_of(found, self._top.histogram_edges)

    # --- what a person is told of

    def guard(self, action: Callable[[], object]) -> None:
        """Run what nobody asked for; an error is shown under the controls."""
        if self._closed:
            return
        try:
            action()
        except Exception as error:
            # An error in a callback is lost unless it is shown on the page.
            self._complain(Complaint.of(error))

    def do(self, action: Callable[[], object]) -> None:
        """Run something a person asked for; an error is shown until the next order."""
        with self._lock:
            if not self._closed:
                self._complain(None)
                self.guard(action)

    def _complain(self, complaint: Complaint | None) -> None:
        self._problem.value = "" if complaint is None else complaint.as_html()
        display(self._problem, shown=complaint is not None)

    # --- how it comes into a notebook, and is taken away again

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{self.layer}, channel {self.channel}"
        return f"<ChannelAtlas: {state}>"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        if self._closed:
            return {"text/plain": repr(self)}
        bundle: dict[str, Any] = super()._repr_mimebundle_(**kwargs)
        # A saved notebook shows this where no kernel is: on GitHub, nbviewer and in nbconvert.
        bundle["image/png"] = base64.b64encode(self.to_bytes()).decode()
        # In Colab anywidget turns on the manager of widgets that are not ipywidgets' own.
        assert self._page is not None
        helper: Any = self._page._repr_mimebundle_()
        return (bundle, helper[1]) if helper[1] else bundle

    def to_bytes(self) -> bytes:
        """Return a picture of what is on show, as PNG; patches are read where they must be."""
        with self._lock:
            self._require_open()
            assert self._cards is not None
            found = self._cards.read(self._top, self.layer, self.channel)
            return static_picture(
                found, self._bars(), _caption(self._top, self.layer, self.channel)
            )

    def close(self) -> None:
        """Take it off the page and free its widgets; closing twice does no harm."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            # ipywidgets closes no children, layouts or styles, and keeps what is not closed.
            for widget in widgets_of(self):
                if widget is not self:
                    widget.close()
            super().close()
            # ipywidgets lets nobody ask a closed widget how it is shown.
            del self._repr_mimebundle_


def _ranked(top: TopActivations, layer: str, order: str) -> tuple[int, ...]:
    """Return a layer's channels in an order; of equal ones, the first first."""
    strongest = top[layer]
    if order == "number":
        return tuple(range(len(strongest.values)))
    by = strongest.values[:, 0] if order == "value" else strongest.fraction_active
    # A channel with no finite value comes last.
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
        f"{what}: over {counted} images{failed_words(top)} the map's {statistic} is "
        f"{strongest.mean[channel]:.4g} on average, and "
        f"{strongest.fraction_active[channel]:.1%} of them activate it; {top.weights.label}."
    )
