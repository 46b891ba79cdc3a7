"""The strongest patches of a channel on the page: small pictures with value and name."""

from __future__ import annotations

import html
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from vgg_widget.circuit.pictures import small_png
from vgg_widget.explorer.atlas.debouncer import Debouncer
from vgg_widget.explorer.box import ExplorerBox
from vgg_widget.explorer.controls import display, paragraph
from vgg_widget.explorer.described_image import FRAME, described_image

if TYPE_CHECKING:
    # Who looks at one image needs none of it.
    from vgg_widget.dataset.result import TopActivations

# Of a card and its picture, on the page; six cards with their margins are as wide as the figure.
_CARD, _PICTURE = 124, 112
# Channels whose pictures are kept: a few megabytes.
_KEPT = 24

STATISTIC_WORDS = {"max": "maximum", "mean": "mean"}

_LINE = "line-height: 1.35; text-align: center; white-space: nowrap; font-size: 92%"
_SHORTENED = f"max-width: {_PICTURE}px; overflow: hidden; text-overflow: ellipsis"


@dataclass(frozen=True, slots=True)
class Patch:
    """What a channel's strongest unit in one picture sees.

    Parameters
    ----------
    value : float
        The picture's statistic.
    name, path : str
        Of the picture; the path of one in memory is empty.
    words : str
        What the patch is, for who cannot see it.
    png : bytes
        Empty where there is no such picture.
    problem : str
        Why, in a sentence.
    rank : int
        0 for the strongest.
    location : (int, int)
        Row and column of the unit in the layer's map.
    """

    value: float
    name: str
    path: str
    words: str
    rank: int
    location: tuple[int, int]
    png: bytes = b""
    problem: str = ""

    @property
    def short_name(self) -> str:
        """The name without folders."""
        return PurePath(self.name).name or self.name


def strong_patches(top: TopActivations, layer: str, channel: int) -> Iterator[Patch]:
    """Read a channel's strongest patches, one picture after the other.

    Parameters
    ----------
    top : TopActivations
        The set of images.
    layer : str
        One of its layers.
    channel : int
        One of the layer's.

    Yields
    ------
    Patch
        Strongest first, of the pixels that the network saw.
    """
    strongest = top[layer]
    for rank, place in enumerate(strongest.places(channel).tolist()):
        value, name = float(strongest.values[channel, rank]), _shown(top.images[place])
        words = f"{name}, {value:.4g}{_where(top, layer, channel, rank, place)}"
        png, problem = b"", ""
        try:
            png = small_png(top.patch(layer, channel, rank), 2 * _PICTURE)
        except (ValueError, OSError) as error:
            # A picture that is gone, and a layer without receptive fields, are no reason to fail.
            problem = str(error)
        location = int(strongest.rows[channel, rank]), int(strongest.columns[channel, rank])
        yield Patch(value, name, top.seen.paths[place], words, rank, location, png, problem)


def _where(top: TopActivations, layer: str, channel: int, rank: int, place: int) -> str:
    boxes = top[layer].boxes
    if boxes is None:
        return ""
    first, left, last, right = boxes[channel, rank].tolist()
    height, width = top.seen.sizes[place, :2].tolist()
    return (
        f": rows {first} to {last - 1} and columns {left} to {right - 1} of {height} × {width} "
        "pixels"
    )


def _shown(name: str) -> str:
    # A file's name may hold bytes that are no text, which no page takes.
    return name.encode("utf-8", "replace").decode("utf-8")


class PatchCards:
    """The strongest patches of one channel, in rows that wrap, under a few words.

    They are read on a thread of their own, once nobody has asked for another channel for a moment:
    at most k pictures a channel, and none of a channel that is kept. What is shown meanwhile is
    faint.

    Parameters
    ----------
    box : ExplorerBox
        Shows what goes wrong.
    look_at : callable, optional
        Called with the patch that a person has chosen; where there is none, cards are not to be
        chosen.
    """

    def __init__(self, box: ExplorerBox, look_at: Callable[[Patch], object] | None = None) -> None:
        self._box, self._look_at = box, look_at
        self._debouncer = Debouncer(lambda callback: box.reporting_errors(callback, clear=False))
        self._asked: tuple[object, ...] | None = None
        self._shown: tuple[object, ...] | None = None
        self._kept: OrderedDict[tuple[str, int], tuple[Patch, ...]] = OrderedDict()
        self._top: TopActivations | None = None
        self.words = widgets.HTML(layout=widgets.Layout(margin="0", max_width="770px"))
        self.problem = widgets.HTML(layout=widgets.Layout(margin="0", max_width="770px"))
        for part in (self.words, self.problem):
            part.add_class("vgg-words")
        self.cards: tuple[PatchCard, ...] = ()
        self.row = widgets.HBox(
            layout=widgets.Layout(flex_flow="row wrap", width="100%", max_width="770px")
        )
        self.widget = _Closing(
            self._debouncer.cancel,
            [self.words, self.problem, self.row],
            layout=widgets.Layout(width="100%"),
        )

    def say(self, words: str) -> None:
        """Say something in place of patches."""
        self._debouncer.cancel()
        self._asked = None
        self._tell(words, "")
        display(self.row, shown=False)

    def show(self, top: TopActivations, layer: str, channel: int, words: str) -> None:
        """Show the patches of a channel, soon, and these words with them."""
        asked = (top, layer, channel, words)
        if asked == self._asked:
            return
        self._asked = asked
        # Here, since a widget made while others are closed would be left.
        self._make(len(top[layer].places(channel)))
        self.row.add_class("vgg-waiting")
        self._debouncer.ask(
            lambda wanted: self.read(top, layer, channel, wanted),
            lambda outcome: self._show(outcome, words),
        )

    @property
    def settled(self) -> bool:
        """Whether the patches that can be seen are those that were last asked for."""
        return self._asked is not None and self._shown == self._asked

    def wait(self, seconds: float = 60.0) -> bool:
        """Wait until all is shown that was asked for; return whether that came."""
        return self._debouncer.wait(seconds)

    def read(
        self,
        top: TopActivations,
        layer: str,
        channel: int,
        wanted: Callable[[], bool] = lambda: True,
    ) -> tuple[Patch, ...]:
        """Return the patches of a channel; those read so far once nobody wants them any more."""
        if top is not self._top:
            self._kept, self._top = OrderedDict(), top
        kept, key = self._kept, (layer, channel)
        if (found := kept.get(key)) is not None:
            return found
        patches: list[Patch] = []
        for patch in strong_patches(top, layer, channel):
            patches.append(patch)
            if not wanted():
                return tuple(patches)
        # A picture that is gone may be back the next time.
        if not any(patch.problem for patch in patches):
            kept[key] = tuple(patches)
            while len(kept) > _KEPT:
                kept.popitem(last=False)
        return tuple(patches)

    def _make(self, count: int) -> None:
        missing = count - len(self.cards)
        if missing > 0:
            made = (PatchCard(self._box, self._look_at) for _ in range(missing))
            self.cards = (*self.cards, *made)
            self.row.children = [card.widget for card in self.cards]

    def _show(self, outcome: Future[tuple[Patch, ...]], words: str) -> None:
        self.row.remove_class("vgg-waiting")
        # An error of the reading is raised here.
        found = outcome.result()
        for number, card in enumerate(self.cards):
            card.show(found[number] if number < len(found) else None)
        self._tell(words, _told([patch.problem for patch in found if patch.problem]))
        display(self.row, shown=bool(found))
        self._shown = self._asked

    def _tell(self, words: str, problem: str) -> None:
        self.words.value, self.problem.value = paragraph(words), paragraph(problem)
        display(self.problem, shown=bool(problem))


class PatchCard:
    """One patch: its picture, its value, and the name of what it was cut from."""

    def __init__(self, box: ExplorerBox, look_at: Callable[[Patch], object] | None) -> None:
        self._look_at = look_at
        self._patch: Patch | None = None
        self.picture = described_image(_PICTURE, border=FRAME)
        self.value = widgets.HTML(layout=widgets.Layout(margin="0", width="100%"))
        # Never disabled: the keyboard's focus would be lost with it.
        self.button = (
            None
            if look_at is None
            else widgets.Button(layout=widgets.Layout(width=f"{_PICTURE}px", margin="2px 0"))
        )
        below = [] if self.button is None else [self.button]
        self.widget = widgets.VBox(
            [self.picture, self.value, *below],
            layout=widgets.Layout(
                display="none", width=f"{_CARD}px", margin="2px", align_items="center"
            ),
        )
        if self.button is not None:
            # The picture is as good to click as its button.
            self.widget.add_class("vgg-line")
            self.button.on_click(box.reporting_errors(self._pressed))

    def show(self, patch: Patch | None) -> None:
        """Show a patch; None takes the card off the page."""
        self._patch = patch
        display(self.widget, shown=patch is not None)
        if patch is None:
            return
        # A picture without bytes would be a broken one.
        display(self.picture, shown=bool(patch.png))
        if patch.png:
            with self.picture.hold_sync():
                self.picture.value = patch.png
                self.picture.tooltip = patch.words
        short = patch.short_name
        lines = f'<div style="{_LINE}">{patch.value:.4g}</div>'
        if self.button is None:
            lines += (
                f'<div style="{_LINE}; {_SHORTENED}" title="{html.escape(patch.name)}">'
                f"{html.escape(short)}</div>"
            )
        else:
            with self.button.hold_sync():
                self.button.description = short
                self.button.tooltip = f"Look at {patch.name}"
        self.value.value = lines

    def _pressed(self, _: object) -> None:
        if self._patch is not None and self._look_at is not None:
            self._look_at(self._patch)


class _Closing(widgets.VBox):  # type: ignore[misc]
    """A box that says when it is closed."""

    def __init__(self, then: Callable[[], object], *given: Any, **more: Any) -> None:
        self._then = then
        super().__init__(*given, **more)

    def close(self) -> None:
        """Close it."""
        self._then()
        super().close()


def _told(problems: list[str]) -> str:
    """Say what the matter is with the first, and how many more there are."""
    if len(problems) < 2:
        return "".join(problems)
    return f"{problems[0]} (Of {len(problems) - 1} more there is no patch either.)"


def failed_words(top: TopActivations) -> str:
    """Say how many pictures of the set were left out; "" where none was."""
    return f" ({len(top.failed)} more could not be read)" if top.failed else ""


def set_words(top: TopActivations, layer: str, channel: int) -> str:
    """Say what the strongest patches of a channel are the strongest of."""
    strongest = top[layer]
    kept, counted = len(strongest.places(channel)), int(strongest.counted[channel])
    statistic = STATISTIC_WORDS[top.statistic]
    if not kept:
        return f"{layer} channel {channel} has a finite {statistic} on none of the images."
    if not strongest.values[channel, :kept].any():
        return (
            f"{layer} channel {channel} has no {statistic} above 0 on {counted} images"
            f"{failed_words(top)}, of which these are the first."
        )
    which = "strongest" if kept == 1 else f"{kept} strongest"
    return (
        f"{layer} channel {channel}: the {which} of {counted} images{failed_words(top)} by the "
        f"map's {statistic}, and of each what the unit at its peak sees, in the pixels that the "
        "network saw."
    )
