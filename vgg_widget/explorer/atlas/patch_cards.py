"""The strongest patches of a channel on the page: small pictures with value and name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING

import ipywidgets as widgets

from vgg_widget.circuit.pictures import small_png
from vgg_widget.explorer import parts
from vgg_widget.explorer.box import LOCK, ExplorerBox
from vgg_widget.explorer.later import Later, Superseded
from vgg_widget.support.messages import plain_number

if TYPE_CHECKING:
    # An explorer of a single image does not need that package.
    from vgg_widget.dataset.result import TopActivations

# Dragging a slider sends a request every few hundredths of a second.
REST_SECONDS = 0.2
# The number of channels whose pictures are kept: a few megabytes.
_CHANNELS_KEPT = 24

STATISTIC_WORDS = {"max": "maximum", "mean": "mean"}


@dataclass(frozen=True, slots=True)
class Patch:
    """The part of one image that a channel's strongest unit, at a location of the map, sees.

    The rank is 0 for the strongest; the path of an image in memory is empty. If there is no
    picture to show, `png` is empty and `problem` says why.
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
    """Read a channel's strongest patches one by one, in the pixels that the network saw."""
    strongest = top[layer]
    for rank, place in enumerate(strongest.places(channel).tolist()):
        # A file name may contain bytes that are not text, which the page would reject.
        name = top.images[place].encode("utf-8", "replace").decode("utf-8")
        value = float(strongest.values[channel, rank])
        words = f"{name}, {plain_number(value, 4)}{_crop_words(top, layer, channel, rank, place)}"
        png, problem = b"", ""
        try:
            png = small_png(top.patch(layer, channel, rank), 2 * parts.CARD_PICTURE)
        except (ValueError, OSError) as error:
            # A missing image, or a layer without receptive fields, must not stop the rest.
            problem = str(error)
        location = int(strongest.rows[channel, rank]), int(strongest.columns[channel, rank])
        yield Patch(value, name, top.seen.paths[place], words, rank, location, png, problem)


def _crop_words(top: TopActivations, layer: str, channel: int, rank: int, place: int) -> str:
    boxes = top[layer].boxes
    if boxes is None:
        return ""
    first, left, last, right = boxes[channel, rank].tolist()
    height, width = top.seen.sizes[place, :2].tolist()
    return (
        f": rows {first} to {last - 1} and columns {left} to {right - 1} of {height} × {width} "
        "pixels"
    )


class PatchCards:
    """The strongest patches of one channel, in rows that wrap, under a short text.

    They are read on another thread after a short pause in requests; until then the old patches
    are faint. `box` shows errors. `look_at` gets the patch whose button is pressed; without it,
    cards have no buttons.
    """

    def __init__(self, box: ExplorerBox, look_at: Callable[[Patch], object] | None = None) -> None:
        self._box, self._look_at = box, look_at
        self._requested: tuple[TopActivations, str, int, str] | None = None
        # Whether the visible patches are those requested last.
        self.settled = False
        self._top: TopActivations | None = None
        self._kept: dict[tuple[str, int], tuple[Patch, ...]] = {}
        self._later = Later(box)
        self._reading = threading.Lock()
        self.words = parts.words("vgg-words", max_width=parts.WIDTH)
        self.problem = parts.words("vgg-words", max_width=parts.WIDTH)
        self.cards: tuple[PatchCard, ...] = ()
        self.row = parts.row([], width="100%", max_width=parts.WIDTH)
        self.widget = widgets.VBox(
            [self.words, self.problem, self.row], layout=widgets.Layout(width="100%")
        )
        # A closed widget has no comm any more.
        self.widget.observe(lambda _: self._later.cancel(), "comm")

    def say(self, text: str) -> None:
        """Show a text instead of patches."""
        self._later.cancel()
        self._requested, self.settled = None, False
        self._set_texts(text, "")
        parts.display(self.row, shown=False)

    def show(self, top: TopActivations, layer: str, channel: int, text: str) -> None:
        """Show the patches of a channel soon, with a text."""
        requested = (top, layer, channel, text)
        if requested == self._requested:
            return
        self._later.cancel()
        self._requested, self.settled = requested, False
        # Made here, since a widget made while others are being closed would stay open.
        self._add_missing_cards(len(top[layer].places(channel)))
        self.row.add_class("vgg-waiting")
        self._later.start(partial(self._read_and_show, *requested), REST_SECONDS)

    def _read_and_show(
        self,
        top: TopActivations,
        layer: str,
        channel: int,
        text: str,
        superseded: Superseded,
    ) -> None:
        try:
            with self._reading:
                found = self.read(top, layer, channel, superseded)
        except Exception:
            with LOCK:
                if superseded.is_set():
                    # This channel is no longer displayed.
                    return
                self.row.remove_class("vgg-waiting")
            raise
        with LOCK:
            if superseded.is_set():
                return
            self.row.remove_class("vgg-waiting")
            for number, one in enumerate(self.cards):
                one.show(found[number] if number < len(found) else None)
            problems = [patch.problem for patch in found if patch.problem]
            self._set_texts(text, _first_and_count(problems))
            parts.display(self.row, shown=bool(found))
            self.settled = True

    def wait(self, seconds: float = 60.0) -> bool:
        """Wait until everything requested is shown; return whether that happened in time."""
        return self._later.wait(seconds)

    def read(
        self,
        top: TopActivations,
        layer: str,
        channel: int,
        superseded: Superseded | None = None,
    ) -> tuple[Patch, ...]:
        """Return the patches of a channel; if superseded, those read so far."""
        if top is not self._top:
            self._kept, self._top = {}, top
        kept, key = self._kept, (layer, channel)
        if (found := kept.get(key)) is not None:
            return found
        patches: list[Patch] = []
        for patch in strong_patches(top, layer, channel):
            patches.append(patch)
            if superseded is not None and superseded.is_set():
                return tuple(patches)
        # A missing image may be back the next time.
        if not any(patch.problem for patch in patches):
            kept[key] = tuple(patches)
            if len(kept) > _CHANNELS_KEPT:
                kept.pop(next(iter(kept)), None)
        return tuple(patches)

    def _add_missing_cards(self, count: int) -> None:
        missing = count - len(self.cards)
        if missing > 0:
            made = (PatchCard(self._box, self._look_at) for _ in range(missing))
            self.cards = (*self.cards, *made)
            self.row.children = [one.widget for one in self.cards]

    def _set_texts(self, text: str, problem: str) -> None:
        self.words.value, self.problem.value = parts.paragraph(text), parts.paragraph(problem)
        parts.display(self.problem, shown=bool(problem))


class PatchCard:
    """One patch: its picture, its value, and the name of its image."""

    def __init__(self, box: ExplorerBox, look_at: Callable[[Patch], object] | None) -> None:
        self._look_at = look_at
        self._patch: Patch | None = None
        self.picture = parts.described_image(parts.CARD_PICTURE, border=parts.FRAME)
        self.value = parts.words(width="100%")
        # Never disabled, because it would lose the keyboard's focus.
        self.button = None if look_at is None else parts.card_button()
        self.widget = parts.card(
            [self.picture, self.value, *([self.button] if self.button else [])]
        )
        if self.button is not None:
            # A click on the picture works like its button.
            self.widget.add_class("vgg-line")
            self.button.on_click(box.reporting_errors(self._pressed))

    def show(self, patch: Patch | None) -> None:
        """Show a patch; None hides the card."""
        self._patch = patch
        parts.display(self.widget, shown=patch is not None)
        if patch is None:
            return
        # Without bytes, the page would show a broken image.
        parts.display(self.picture, shown=bool(patch.png))
        if patch.png:
            with self.picture.hold_sync():
                self.picture.value = patch.png
                self.picture.tooltip = patch.words
        lines = parts.card_line(plain_number(patch.value, 4))
        if self.button is None:
            shortened = (
                f"; max-width: {parts.CARD_PICTURE}px; overflow: hidden; text-overflow: ellipsis"
            )
            lines += parts.card_line(patch.short_name, shortened, patch.name)
        else:
            with self.button.hold_sync():
                self.button.description = patch.short_name
                self.button.tooltip = f"Look at {patch.name}"
        self.value.value = lines

    def _pressed(self, _: object) -> None:
        if self._patch is not None and self._look_at is not None:
            self._look_at(self._patch)


def _first_and_count(problems: list[str]) -> str:
    """Return the first problem, and how many more there are."""
    if len(problems) < 2:
        return "".join(problems)
    return f"{problems[0]} (There is no patch for {len(problems) - 1} more either.)"


def failed_words(top: TopActivations) -> str:
    """Return how many images of the set were left out as text; "" if none were."""
    return f" ({len(top.failed)} more could not be read)" if top.failed else ""
