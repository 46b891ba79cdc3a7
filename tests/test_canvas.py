"""Tests of the messages between kernel and page, with a stub page that loses frames like ipympl."""

from __future__ import annotations

import io
import json
import threading
import time
from collections import deque
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.conftest import make_activations
from vgg_widget import render
from vgg_widget.explorer.box import widgets_of
from vgg_widget.figure.canvas import SETTLED_SECONDS, LiveCanvas, live_canvas
from vgg_widget.figure.feature_figure import FeatureFigure, new_figure
from vgg_widget.pictures.coordinates import Marks

RGB8 = npt.NDArray[np.uint8]

_random = np.random.default_rng(7)
MADE = make_activations(_random.random((8, 10, 6)).astype(np.float32), stride=4)
OTHER = make_activations(_random.random((6, 6, 6)).astype(np.float32), stride=4)


class Page:
    """A stub that handles frames like ipympl's front end, `mpl_widget.ts` of version 0.10.

    A frame is decoded in the background. If the next frame arrives before that is done, the first
    one is never shown.
    """

    def __init__(self, canvas: LiveCanvas, monkeypatch: pytest.MonkeyPatch) -> None:
        self.canvas = canvas
        self.now = 1000.0
        self.screen: RGB8 | None = None
        self.frames: list[bytes] = []
        self._arriving: deque[tuple[Any, Any]] = deque()
        self._answers: deque[dict[str, Any]] = deque()
        self._loading: bytes | None = None
        self._waits = False
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(
            canvas, "send", lambda content, buffers=None: self._arriving.append((content, buffers))
        )

    def opens(self) -> None:
        """Send the first messages of a new page, and process all that follow."""
        for kind in ("refresh", "send_image_mode", "initialized"):
            self._answers.append({"type": kind})
        self.settles()

    def receives(self) -> None:
        """Process one message from the kernel."""
        if not self._arriving:
            return
        content, buffers = self._arriving.popleft()
        message = json.loads(content["data"])
        if message["type"] == "binary":
            # A frame that is still being decoded is lost.
            self._loading = bytes(buffers[0])
            self.frames.append(self._loading)
            self._waits = False
        elif message["type"] == "draw" and not self._waits:
            self._waits = True
            self._answers.append({"type": "draw"})
        elif message["type"] == "resize":
            width, height = (int(side) for side in message["size"])
            self.screen = np.zeros((height, width, 3), np.uint8)
            self._answers.append({"type": "refresh"})

    def answers(self) -> None:
        """Send one message to the kernel."""
        if self._answers:
            message = self._answers.popleft()
            self.canvas._handle_message(self.canvas, message, [])

    def loads(self) -> None:
        """Finish decoding a frame and paint it over the screen."""
        if self._loading is None or self.screen is None:
            return
        with Image.open(io.BytesIO(self._loading)) as picture:
            frame = np.asarray(picture.convert("RGBA"))
        self._loading = None
        solid = frame[..., 3] == 255
        assert (solid | (frame[..., 3] == 0)).all()
        self.screen = np.where(solid[..., np.newaxis], frame[..., :3], self.screen)

    def waits(self) -> None:
        """Finish decoding, and advance the clock beyond the time that the kernel allows for it."""
        self.loads()
        self.now += 2 * SETTLED_SECONDS

    def converses(self) -> None:
        """Process and send all messages without decoding a frame."""
        while self._arriving or self._answers:
            self.receives()
            self.answers()

    def settles(self) -> None:
        """Process and send all messages, then decode the last frame."""
        self.converses()
        self.loads()

    def truth(self) -> RGB8:
        pixels: RGB8 = np.asarray(self.canvas.get_renderer().buffer_rgba())[..., :3]
        return pixels


class Shown:
    """A figure on a live canvas that the stub page shows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.canvas = live_canvas(new_figure())
        self.page = Page(self.canvas, monkeypatch)
        self.view = FeatureFigure(self.canvas.figure)
        self.made = MADE
        self.mode = "channel"
        self.step(0)

    def step(self, channel: int, image: RGB8 | None = None) -> None:
        picture = render(self.made, "conv", self.mode, channel=channel)
        self.view.show(picture, self.made.image if image is None else image, 4)

    def hover(self, row: int) -> None:
        """Mark a unit as hovering does; row 0 removes the marks."""
        seen = (4 * row, 8, 4 * row + 9, 20)
        self.view.mark(Marks((row, 3), seen) if row else Marks())

    def gesture(self, kind: str) -> None:
        """Zoom in as a drag does, with more than one request for a redraw in one message."""
        canvas, view = self.canvas, self.view
        original = canvas.handle_event

        def handle(event: dict[str, Any]) -> None:
            assert event == {"type": kind}
            (left, right), (bottom, top) = view.view
            view.view = ((left + 1, right - 1), (bottom - 1, top + 1))
            canvas.draw_idle()
            canvas.draw_idle()

        canvas.handle_event = handle
        try:
            canvas._handle_message(canvas, {"type": kind}, [])
        finally:
            canvas.handle_event = original

    def close(self) -> None:
        for widget in (*widgets_of(self.canvas), *widgets_of(self.canvas.toolbar)):
            widget.close()


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = Shown(monkeypatch)
    yield made
    made.close()


def test_no_frame_is_sent_before_a_page_opens(shown: Shown) -> None:
    shown.step(1)
    assert not any("binary" in content["data"] for content, _ in shown.page._arriving)
    shown.page.opens()
    np.testing.assert_array_equal(shown.page.screen, shown.page.truth())


def test_a_step_sends_one_partial_frame(shown: Shown) -> None:
    page = shown.page
    # Random pixels compress as badly as a photograph, unlike the pattern of other tests.
    photograph = np.random.default_rng(3).integers(0, 256, MADE.image.shape, np.uint8)
    shown.step(0, photograph)
    page.opens()
    page.waits()
    page.frames = []
    shown.step(1, photograph)
    page.settles()
    (part,) = page.frames
    # A page that opens now receives the same picture as a whole frame.
    page.opens()
    page.settles()
    assert len(part) < len(page.frames[-1])
    with Image.open(io.BytesIO(part)) as picture:
        alpha = np.asarray(picture.convert("RGBA"))[..., 3]
    assert not alpha[:, : alpha.shape[1] // 3].any()
    np.testing.assert_array_equal(page.screen, page.truth())


def test_a_gesture_is_drawn_once_without_asking_a_ready_page(shown: Shown) -> None:
    page = shown.page
    page.opens()
    page.frames.clear()
    shown.gesture("zoom")
    # The frame has been sent without another request to the page.
    assert sum("binary" in content["data"] for content, _ in page._arriving) == 1
    page.settles()
    assert len(page.frames) == 1
    np.testing.assert_array_equal(page.screen, page.truth())


def test_a_long_drag_draws_as_often_as_the_page_keeps_up(shown: Shown) -> None:
    page = shown.page
    page.opens()
    page.frames.clear()
    for _ in range(5):
        shown.gesture("pan")
    page.settles()
    # The first is sent at once, and one frame for the other four when the page has answered.
    assert len(page.frames) == 2
    np.testing.assert_array_equal(page.screen, page.truth())


def test_a_second_page_gets_a_whole_picture(shown: Shown) -> None:
    page = shown.page
    page.opens()
    page.waits()
    shown.step(1)
    page.settles()
    page.screen = None
    page.opens()
    np.testing.assert_array_equal(page.screen, page.truth())


def test_a_page_that_answers_before_it_has_decoded_a_picture_does_not_lose_it(shown: Shown) -> None:
    page = shown.page
    page.opens()
    page.waits()
    shown.made = OTHER
    shown.step(0)
    page.converses()
    shown.step(1)
    page.settles()
    np.testing.assert_array_equal(page.screen, page.truth())


def test_an_answer_to_an_older_frame_does_not_confirm_a_newer_one(shown: Shown) -> None:
    page = shown.page
    page.opens()
    page.waits()
    shown.made = OTHER
    shown.step(0)
    while not page._answers:
        page.receives()
    shown.made = MADE
    shown.step(0)
    page.answers()
    page.waits()
    shown.step(1)
    page.settles()
    np.testing.assert_array_equal(page.screen, page.truth())


def test_a_figure_is_saved_while_another_thread_draws(shown: Shown) -> None:
    failures: list[BaseException] = []

    def draw() -> None:
        try:
            for channel in range(30):
                shown.step(channel % 6)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=draw)
    thread.start()
    for _ in range(5):
        shown.canvas.figure.savefig(io.BytesIO(), dpi=50)
    thread.join()
    assert failures == []


def test_a_message_that_comes_after_closing_does_nothing(shown: Shown) -> None:
    shown.page.opens()
    shown.canvas.manager = None
    shown.canvas._handle_message(shown.canvas, {"type": "draw"}, [])
    shown.canvas.draw()


# Paints that wait for the page --------------------------------------------------------------------


def test_hovering_paints_as_often_as_the_page_keeps_up_and_the_last_place(shown: Shown) -> None:
    page = shown.page
    page.opens()
    page.frames.clear()
    for row in (1, 2, 3, 4, 5):
        shown.hover(row)
    page.settles()
    # The first is painted at once, and the last when the page has answered.
    assert len(page.frames) == 2
    np.testing.assert_array_equal(page.screen, page.truth())
    painted = page.truth().copy()
    shown.canvas.draw()
    np.testing.assert_array_equal(painted, page.truth())


def test_hovering_does_not_redraw_the_figure(shown: Shown) -> None:
    drawings: list[object] = []
    shown.page.opens()
    shown.canvas.mpl_connect("draw_event", drawings.append)
    before = shown.page.truth().copy()
    for row in (1, 3, 0):
        shown.hover(row)
        shown.page.settles()
        np.testing.assert_array_equal(shown.page.screen, shown.page.truth())
        assert np.array_equal(shown.page.truth(), before) == (row == 0)
    assert drawings == []


def test_only_the_last_waiting_paint_is_done(shown: Shown) -> None:
    canvas, page = shown.canvas, shown.page
    page.opens()
    canvas.draw()  # the page has not answered this frame, so it is not ready
    painted: list[int] = []
    for number in range(4):
        canvas.paint_idle(partial(painted.append, number))
    assert painted == []
    page.settles()
    page.settles()
    assert painted == [3]
    # A paint for a ready page is done at once.
    canvas.paint_idle(lambda: painted.append(9))
    assert painted == [3, 9]


def test_a_waiting_redraw_is_not_lost_to_a_later_paint(shown: Shown) -> None:
    canvas, page = shown.canvas, shown.page
    page.opens()
    canvas.draw()
    painted: list[str] = []
    canvas.draw_idle()
    shown.canvas.figure.text(0.5, 0.5, "mine", fontsize=40, color="magenta")
    canvas.paint_idle(lambda: painted.append("too late"))
    page.settles()
    assert painted == []
    assert page.screen is not None
    assert (page.screen == (255, 0, 255)).all(axis=-1).sum() > 100


def test_a_redraw_replaces_a_waiting_paint(shown: Shown) -> None:
    canvas, page = shown.canvas, shown.page
    page.opens()
    canvas.draw()
    painted: list[str] = []
    canvas.paint_idle(lambda: painted.append("before"))
    canvas.draw_idle()
    page.settles()
    assert painted == []
    np.testing.assert_array_equal(page.screen, page.truth())


def test_nothing_is_painted_or_asked_after_closing(shown: Shown) -> None:
    canvas, page = shown.canvas, shown.page
    page.opens()
    canvas.draw()
    painted: list[str] = []
    canvas.paint_idle(lambda: painted.append("waiting"))
    canvas.manager = None
    page.settles()
    arriving = len(page._arriving)
    canvas.paint_idle(lambda: painted.append("after"))
    canvas.draw_idle()
    page.settles()
    assert (painted, len(page._arriving)) == ([], arriving)


def test_a_hover_between_a_whole_frame_and_a_step_is_not_lost(shown: Shown) -> None:
    page = shown.page
    page.opens()
    page.waits()
    shown.hover(2)
    page.converses()  # the frame has arrived, but is not decoded
    shown.step(1)  # only the right side has changed since that frame
    page.settles()
    np.testing.assert_array_equal(page.screen, page.truth())


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("step"), st.integers(0, 5)),
        st.tuples(st.just("mode"), st.sampled_from(["channel", "max", "rgb", "grid"])),
        st.tuples(st.just("image"), st.booleans()),
        st.tuples(st.just("gesture"), st.none()),
        st.tuples(st.just("hover"), st.integers(0, 5)),
        st.tuples(st.sampled_from(["receives", "answers", "loads", "waits"]), st.none()),
    ),
    max_size=25,
)


@pytest.mark.slow
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(actions=ACTIONS)
def test_the_last_picture_is_right_whatever_frames_are_lost(
    monkeypatch: pytest.MonkeyPatch, actions: list[tuple[str, Any]]
) -> None:
    shown = Shown(monkeypatch)
    try:
        shown.page.opens()
        for action, value in actions:
            if action == "step":
                shown.step(value)
            elif action == "mode":
                shown.mode = value
                shown.step(0)
            elif action == "image":
                shown.made = OTHER if value else MADE
                shown.step(1)
            elif action == "gesture":
                shown.gesture("zoom")
            elif action == "hover":
                shown.hover(value)
            else:
                getattr(shown.page, action)()
        shown.page.settles()
        screen = shown.page.screen
        np.testing.assert_array_equal(screen, shown.page.truth())
        # A complete redraw gives the same pixels, so no paint was lost in the kernel either.
        shown.canvas.draw()
        np.testing.assert_array_equal(screen, shown.page.truth())
    finally:
        shown.close()
