"""Attribution of a value: its key, its map over the input, and its panel, in a real browser."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import expect

from .desk import OpenNotebook
from .sight import (
    CANVAS,
    EXPLORER,
    INPUT,
    LAYER,
    MAP,
    center,
    picture_in,
    pixels_of,
    side_of,
    unharmed,
)

pytestmark = pytest.mark.browser


def test_a_key_shows_why_the_value_is_what_it_is(lab: OpenNotebook) -> None:
    # The gradient is not zero where the channel is largest.
    page = lab(EXPLORER)
    row, column = page.ask(
        f"[int(n) for n in __import__('numpy').unravel_index("
        f"explorer.activations['{LAYER}'][4:-4, 4:-4, 7].argmax(), (20, 16))]"
    )
    page.click_canvas(side_of(page, MAP).point(*center(LAYER, row + 4, column + 4)))
    page.wait_value("explorer.location", [row + 4, column + 4])
    page.wait_picture_equal(CANVAS)
    plain = pixels_of(page)
    page.page.keyboard.press("w")
    page.wait_value("explorer.attributed is not None", value=True)
    page.wait_picture_equal(CANVAS)
    top, left, bottom, right = page.ask("list(explorer.attributed.box)")
    values = np.array(page.ask("explorer.attributed.values.tolist()"))
    shown, side = pixels_of(page).astype(int), side_of(page, INPUT)
    strong = 0
    for y in range(0, values.shape[0], 2):
        for x in range(0, values.shape[1], 2):
            across, down = (int(place) for place in side.pixel(x, y))
            if not (top - 3 <= y < bottom + 3 and left - 3 <= x < right + 3):
                np.testing.assert_array_equal(shown[down, across], plain[down, across])
            elif abs(values[y, x]) > 0.4 * np.abs(values).max():
                red, _, blue = shown[down, across] - 0.2 * plain[down, across]
                assert (red > blue) == (values[y, x] > 0)
                strong += 1
    assert strong > 2
    # The panel shows the receptive field and the map, both enlarged.
    cards = page.page.locator(".vgg-stage img:visible")
    expect(cards).to_have_count(2)
    seen = picture_in(cards.first)
    image = np.array(page.ask("explorer.activations.image.tolist()"))[top:bottom, left:right]
    times = seen.shape[0] // image.shape[0]
    np.testing.assert_array_equal(seen[::times, ::times], image)
    for card in cards.all():
        box = card.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) > 150
    expect(page.page.get_by_text("100% of the map lies in the receptive field")).to_be_visible()
    # Another channel gets its own map; a second press of W hides map and panel.
    page.page.keyboard.press("ArrowRight")
    page.wait_value("explorer.attributed is not None and explorer.attributed.channel", 8)
    page.page.keyboard.press("ArrowLeft")
    page.page.keyboard.press("w")
    page.wait_value("(explorer.attribution, explorer.channel, explorer.panel)", [None, 7, ""])
    page.wait_picture_equal(CANVAS)
    # The picture is as before, except for the lines of the frame, which the page draws too.
    now = pixels_of(page).astype(int)
    for y, x in np.ndindex(values.shape):
        across, down = (int(place) for place in side.pixel(x, y))
        if min(abs(y - top), abs(y - bottom), abs(x - left), abs(x - right)) > 3:
            np.testing.assert_array_equal(now[down, across], plain[down, across])
    unharmed(page)
