"""The panels that generate images, and the distances of a comparison, in a real browser."""

from __future__ import annotations

import re
import time

import numpy as np
import numpy.typing as npt
import pytest
from playwright.sync_api import Locator, expect

from .desk import OpenNotebook
from .page import NotebookPage
from .sight import picture_in, unharmed

pytestmark = [pytest.mark.browser, pytest.mark.slow]

RGB8 = npt.NDArray[np.uint8]

CELL = """
from vgg_widget import LayerExplorer, sample_image
explorer = LayerExplorer(
    sample_image(), weights="random", size=96, layer="block3_conv4", channel=7
)
explorer
"""
# Tracing a network's gradient takes a while on a busy machine.
FIRST_SECONDS = 90


def cards(page: NotebookPage) -> Locator:
    return page.page.locator(".vgg-stage img:visible")


def steps_said(page: NotebookPage) -> int:
    """Return the number of steps that the open panel reports, or 0 if it reports none."""
    text = page.page.locator(".vgg-stage").inner_text()
    found = re.search(r"(\d+) of \d+ steps", text)
    return int(found[1]) if found else 0


def wait_steps(page: NotebookPage, most: int) -> int:
    """Wait until the panel reports more than `most` steps, and return their number."""
    deadline = time.monotonic() + FIRST_SECONDS
    while (steps := steps_said(page)) <= most:
        assert time.monotonic() < deadline, f"the panel still reports {steps} steps"
        page.page.wait_for_timeout(50)
    return steps


def wait_changed(page: NotebookPage, before: RGB8) -> RGB8:
    """Wait until the first image in the panel differs from `before`, and return it."""
    deadline = time.monotonic() + FIRST_SECONDS
    while True:
        shown = picture_in(cards(page).first)
        if shown.shape != before.shape or (shown != before).any():
            return shown
        assert time.monotonic() < deadline, "the image has not changed"
        page.page.wait_for_timeout(100)


def test_the_image_of_a_channel_is_started_stopped_and_resumed(lab: OpenNotebook) -> None:
    page = lab(CELL)
    page.click_button("Looks for")
    expect(page.page.get_by_text("Press start to make a picture, from noise")).to_be_visible()
    expect(cards(page)).to_have_count(0)
    page.click_button("start")
    wait_steps(page, 0)
    # The second image is the part of the input to which the channel responds most.
    expect(cards(page)).to_have_count(2)
    first = picture_in(cards(page).first)
    assert first.std() > 20
    intermediate = wait_changed(page, first)

    page.click_button("stop")
    expect(page.page.get_by_role("button", name="resume", exact=True)).to_be_visible()
    # The running step is finished, and no other begins.
    panel = "explorer._switcher._made['Looks for']"
    page.wait_value(f"{panel}.maker.wait(0)", value=True)
    stopped = picture_in(cards(page).first)
    steps = page.ask(f"max(one.steps for one in {panel}._images.values() if one)")
    page.page.wait_for_timeout(1500)
    np.testing.assert_array_equal(picture_in(cards(page).first), stopped)
    assert stopped.shape == intermediate.shape

    page.click_button("resume")
    assert wait_steps(page, steps) > steps
    wait_changed(page, stopped)
    # The explorer stays responsive: another channel starts without a generated image.
    page.type_into("channel number", "8")
    page.wait_value("explorer.channel", 8)
    expect(page.page.get_by_text("to which channel 8 of block3_conv4 responds")).to_be_visible()
    expect(cards(page)).to_have_count(0)
    # The first channel's image is kept, and can be resumed.
    page.type_into("channel number", "7")
    expect(page.page.get_by_role("button", name="resume", exact=True)).to_be_visible()
    expect(cards(page)).to_have_count(2)
    unharmed(page)


def test_what_is_left_is_shown_beside_the_input(lab: OpenNotebook) -> None:
    page = lab(CELL.replace("block3_conv4", "block1_conv2"))
    page.click_button("What is left")
    expect(cards(page)).to_have_count(1)
    image = np.array(page.ask("explorer.activations.image.tolist()"))
    given = picture_in(cards(page).first)
    times = given.shape[0] // image.shape[0]
    np.testing.assert_array_equal(given[::times, ::times], image)
    page.click_button("start")
    expect(page.page.get_by_text("Its pixels are")).to_be_visible(timeout=1000 * FIRST_SECONDS)
    expect(cards(page)).to_have_count(2)
    done = page.page.get_by_text("after 200 steps")
    expect(done).to_be_visible(timeout=1000 * FIRST_SECONDS)
    made = picture_in(cards(page).last)[::times, ::times]
    # The first layers preserve nearly all of the photograph.
    likeness = np.corrcoef(made.ravel().astype(float), image.ravel())[0, 1]
    assert likeness > 0.9
    expect(page.page.get_by_role("button", name="start", exact=True)).to_be_hidden()
    unharmed(page)


def test_a_comparison_says_how_far_apart_its_images_are(lab: OpenNotebook) -> None:
    page = lab(
        """
from vgg_widget import compare, sample_image
photo = sample_image()
comparison = compare(photo, photo[:, ::-1], weights="random", size=96, layer="block2_conv1")
comparison
"""
    )
    page.click_button("Distances")
    layers = page.ask("[info.name for info in comparison.pair.first.layers]")
    lines = page.page.locator(".vgg-stage .vgg-line")
    expect(lines).to_have_count(len(layers))
    expect(lines.last).to_contain_text(re.compile(r"style\s*\d"), timeout=1000 * FIRST_SECONDS)
    expected = page.ask(
        """
from vgg_widget.gradients import content_distance, style_distance
[[f"{distance(*pair, layer, relative=True):.3f}" for distance in (content_distance, style_distance)]
 for pair in [(comparison.pair.first, comparison.pair.second)] for layer in layers]
""".replace("in layers", f"in {layers}")
    )
    for line, layer, numbers in zip(lines.all(), layers, expected, strict=True):
        expect(line).to_contain_text(layer)
        assert re.findall(r"\d\.\d{3}", line.inner_text()) == numbers
        # The lengths of the bars match the numbers.
        rails = line.locator(".vgg-rail").all()
        for rail, number in zip(rails, numbers, strict=True):
            whole, part = rail.bounding_box(), rail.locator(".vgg-bar").bounding_box()
            assert whole is not None
            assert part is not None
            assert part["width"] / whole["width"] == pytest.approx(float(number), abs=0.02)
    lines.nth(layers.index("block3_conv1")).get_by_role("button").click()
    page.wait_value("comparison.layer", "block3_conv1")
    unharmed(page)
