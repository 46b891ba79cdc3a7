"""The explorer on a real page: its controls, zoom, mouse, upload, and layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from vgg_widget.cli.demo import demo_notebook

from .desk import OpenNotebook
from .page import OPEN_SECONDS, RUN_SECONDS, NotebookPage
from .picture import Picture
from .sight import HINT, MAP, side_of, wait_words

pytestmark = pytest.mark.browser

ONE_CELL = """
from vgg_widget import LayerExplorer, sample_image
explorer = LayerExplorer(
    sample_image(), layer="block1_conv1", channel=0, cmap="viridis", scale="layer"
)
explorer
"""
RANDOM = """
from vgg_widget import LayerExplorer, sample_image
explorer = LayerExplorer(
    sample_image(), weights="random", size=96, layer="block1_conv1", channel=0, scale="layer"
)
explorer
"""
CANVAS = "explorer.canvas"


def shown(page: NotebookPage, label: str) -> str:
    """Return the text of the option that a dropdown shows."""
    text = page.control(label).locator("select").evaluate("s => s.options[s.selectedIndex].text")
    assert isinstance(text, str)
    # ipywidgets makes the spaces in options non-breaking.
    return text.replace("\xa0", " ")


def settle(page: NotebookPage, trait: str, value: object, before: Picture) -> Picture:
    """Wait for the trait's value and for a new picture that equals the kernel's; return it."""
    page.wait_value(f"explorer.{trait}", value)
    return page.wait_picture_equal(CANVAS, unlike=before)


def test_every_control_moves_the_picture_and_its_trait(front_end: OpenNotebook) -> None:
    page = front_end(ONE_CELL)
    picture = page.wait_picture_equal(CANVAS)
    assert not picture.blank
    page.screenshot(f"{page.server.front_end}-first")
    # Offline, a notice says that these are not ImageNet weights, and how to download those.
    notice = page.page.locator(".vgg-notice")
    assert "NOT ImageNet weights" in notice.inner_text()
    advice = page.page.get_by_text("vgg-widget weights --download")
    assert not advice.is_visible()
    notice.get_by_text("details").click()
    assert advice.is_visible()

    page.drag_slider("channel", 0.5)
    picture = page.wait_picture_equal(CANVAS, unlike=picture)
    channel = page.ask("explorer.channel")
    assert 25 <= channel <= 38
    assert page.ask("explorer.rendering.channels") == [channel]
    page.type_into("channel number", "7")
    picture = settle(page, "channel", 7, picture)

    page.select("layer", "┌ block3_conv1 · 65 × 56 × 256")
    picture = settle(page, "layer", "block3_conv1", picture)
    assert page.ask("explorer.channel") == 7
    page.select("colors", "magma")
    picture = settle(page, "cmap", "magma", picture)
    page.select("range", "this picture, to the max")
    picture = settle(page, "scale", "channel", picture)
    for mode in ("grid", "max", "mean", "argmax", "composite", "rgb", "rainbow"):
        page.select("mode", mode)
        picture = settle(page, "mode", mode, picture)
        page.screenshot(f"{page.server.front_end}-{mode}")
    page.type_into("channels", "3, 5-6")
    picture = settle(page, "channels", [3, 5, 6], picture)

    page.ask("explorer.layer, explorer.mode = 'block2_pool', 'channel'\nNone")
    page.ask("explorer.channel = 100\nNone")
    picture = settle(page, "channel", 100, picture)
    assert shown(page, "layer") == "└ block2_pool · 65 × 56 × 128"
    assert page.mode_shown() == "channel"
    number = page.control("channel number").locator("input")
    assert number.input_value() == "100"
    assert page.page.get_by_text("block2_pool · 65 × 56 × 128 · channel 100").is_visible()

    assert page.errors() == []
    assert page.console_errors() == []


def test_a_bad_entry_shows_an_error_under_the_controls(front_end: OpenNotebook) -> None:
    page = front_end(RANDOM)
    page.ask("explorer.mode = 'composite'\nNone")
    picture = page.wait_picture_equal(CANVAS)
    page.type_into("channels", "1, 999")
    message = page.page.get_by_text("choose whole numbers from 0 to 63")
    message.wait_for()
    assert page.ask("explorer.channels") == []
    assert page.wait_picture_equal(CANVAS) == picture
    page.type_into("channels", "1, 9")
    settle(page, "channels", [1, 9], picture)
    message.wait_for(state="hidden")
    assert page.console_errors() == []


@pytest.mark.slow
def test_a_zoom_is_kept_across_layers_and_home_resets_it(lab: OpenNotebook) -> None:
    page = lab(RANDOM)
    whole = page.wait_picture_equal(CANVAS)
    page.click_toolbar("Zoom to rectangle")
    page.drag_on_canvas((0.55, 0.3), (0.7, 0.6))
    zoomed = page.wait_picture_equal(CANVAS, unlike=whole)
    limits = page.ask("[*explorer.figure.axes[1].get_xlim(), *explorer.figure.axes[0].get_xlim()]")
    assert limits[0] > 0
    assert limits[:2] == limits[2:]
    page.select("layer", "├ block3_conv2 · 28 × 24 × 256")
    page.wait_picture_equal(CANVAS, unlike=zoomed)
    assert page.ask("[*explorer.figure.axes[1].get_xlim()]") == limits[:2]
    page.screenshot("lab-zoomed")
    page.click_toolbar("Reset original view")
    page.wait_value("[*explorer.figure.axes[1].get_xlim()]", [-0.5, 95.5])
    page.wait_picture_equal(CANVAS)


@pytest.mark.slow
def test_a_zoom_shows_no_resize_handle(front_end: OpenNotebook) -> None:
    page = front_end(RANDOM, fresh=True)
    whole = page.wait_picture_equal(CANVAS)
    page.click_toolbar("Zoom to rectangle")
    page.drag_on_canvas((0.1, 0.2), (0.3, 0.5))
    page.wait_picture_equal(CANVAS, unlike=whole)
    page.screenshot(f"{page.server.front_end}-handle")
    assert page.handle() == 0
    assert page.ask("explorer.canvas.resizable") is False


@pytest.mark.slow
def test_a_zoom_after_a_reload_shows_no_resize_handle(lab: OpenNotebook) -> None:
    page = lab(RANDOM, fresh=True)
    whole = page.wait_picture_equal(CANVAS)
    page.page.evaluate("jupyterapp.commands.execute('docmanager:save')")
    page.page.reload()
    page.page.wait_for_function("window.harness?.idle()", timeout=1000 * OPEN_SECONDS)
    page.picture_canvas().wait_for(timeout=1000 * OPEN_SECONDS)
    assert page.wait_picture_equal(CANVAS) == whole
    page.click_toolbar("Zoom to rectangle")
    page.drag_on_canvas((0.1, 0.2), (0.3, 0.5))
    page.wait_picture_equal(CANVAS, unlike=whole)
    assert page.handle() == 0


# The events of a mouse that crosses the picture within 33 ms.
CROSS = """canvas => {
  const { left, top } = canvas.getBoundingClientRect();
  const does = (kind, x) =>
    canvas.dispatchEvent(new MouseEvent(kind, { clientX: left + x, clientY: top + 150 }));
  does("mouseenter", 200);
  for (const x of [200, 210, 220]) does("mousemove", x);
  does("mouseleave", 220);
}"""
NOTE = """
heard = []
for name in ("motion_notify_event", "figure_leave_event"):
    explorer.canvas.mpl_connect(name, lambda event: heard.append(event.name.split("_")[1]))
"""


def test_nothing_is_marked_when_the_mouse_has_crossed_the_picture(front_end: OpenNotebook) -> None:
    # A budget of 0 leaves the marks to the kernel: the page would send only the last move.
    page = front_end(RANDOM, f"explorer.page_budget = 0\n{NOTE}")
    untouched = page.wait_picture_equal(CANVAS)
    page.page.locator(".jupyter-matplotlib-canvas-div canvas").last.evaluate(CROSS)
    # ipympl delays the last move but not the leave event.
    page.wait_value("heard", ["notify", "leave", "notify"])
    wait_words(page, "place", HINT)
    page.wait_picture_equal(CANVAS)
    assert page.canvas_rows() == untouched
    # Pointing works again when the mouse returns.
    page.hover_canvas((0.25, 0.5))
    wait_words(page, "place", "input row")
    assert page.errors() == []


@pytest.mark.slow
def test_a_dragged_slider_ends_on_the_picture_of_its_channel(lab: OpenNotebook) -> None:
    page = lab(RANDOM, "explorer.layer = 'block5_conv1'")
    picture = page.wait_picture_equal(CANVAS)
    for fraction in (0.9, 0.1, 0.6, 0.3, 0.95):
        page.drag_slider("channel", fraction)
    picture = page.wait_picture_equal(CANVAS, unlike=picture)
    assert page.ask("explorer.channel") > 450
    assert page.ask(
        "explorer.rendering.channels == (explorer.channel,) and "
        "(explorer.rendering.values == explorer.activations['block5_conv1'][..., explorer.channel]"
        ").all().item()"
    )


@pytest.mark.slow
def test_two_explorers_are_independent_until_linked(lab: OpenNotebook) -> None:
    where = "layer='block1_conv1', channel=0"
    second = f"other = LayerExplorer(sample_image(), weights='random', size=96, {where})\nother"
    page = lab(RANDOM, second)
    first, beside = (
        page.wait_picture_equal(CANVAS),
        page.wait_picture_equal("other.canvas", index=1),
    )
    page.select("mode", "max", index=1)
    beside = page.wait_picture_equal("other.canvas", index=1, unlike=beside)
    assert page.wait_picture_equal(CANVAS) == first
    page.ask("import traitlets; link = traitlets.link((explorer, 'layer'), (other, 'layer'))\nNone")
    page.select("layer", "┌ block2_conv1 · 56 × 48 × 128")
    page.wait_value("other.layer", "block2_conv1")
    page.wait_picture_equal(CANVAS, unlike=first)
    page.wait_picture_equal("other.canvas", index=1, unlike=beside)
    assert page.ask("explorer.extractor.model is other.extractor.model")


def test_a_picture_is_uploaded_and_a_bad_one_refused(lab: OpenNotebook, tmp_path: Path) -> None:
    page = lab(RANDOM)
    first = page.wait_picture_equal(CANVAS)
    ramp = np.repeat(np.arange(200, dtype=np.uint8)[:, np.newaxis], 120, axis=1)
    good, bad = tmp_path / "ramp.png", tmp_path / "bad.jpg"
    Image.fromarray(ramp).save(good)
    bad.write_text("<script>console.error('ran')</script>", encoding="utf-8")
    page.upload("other picture", good)
    page.wait_value("list(explorer.image.shape)", [200, 120, 3])
    second = page.wait_picture_equal(CANVAS, unlike=first)
    page.upload("other picture", bad)
    page.page.get_by_text("not in a readable image format").wait_for()
    assert page.wait_picture_equal(CANVAS) == second
    page.select("mode", "max")
    page.wait_picture_equal(CANVAS, unlike=second)
    assert page.console_errors() == []


def test_inline_plots_stay_inline(lab: OpenNotebook) -> None:
    page = lab(
        "import matplotlib.pyplot as plt\n_ = plt.plot([1, 2])",
        RANDOM,
        "_ = plt.plot([2, 1])",
    )
    page.wait_picture_equal(CANVAS)
    # Each plot is an image in its cell's output, not an ipympl canvas.
    assert page.page.locator(".jp-RenderedImage img").count() == 2
    assert page.ask("plt.get_fignums()") == []


@pytest.mark.slow
def test_the_demo_notebook_shows_its_picture_before_it_is_run(
    lab: OpenNotebook, tmp_path: Path
) -> None:
    notebook = tmp_path / "demo.ipynb"
    notebook.write_text(json.dumps(demo_notebook(None)), encoding="utf-8")
    page = lab(file=notebook, run=False)
    picture = page.page.locator(".jp-OutputArea-output img").first
    assert picture.evaluate("image => [image.complete, image.naturalWidth]") == [True, 770]
    page.screenshot("lab-demo")
    # The demo tells the reader to click the cell and press these keys.
    page.page.locator(".jp-CodeCell .cm-content").first.click()
    page.page.keyboard.press("Shift+Enter")
    canvas = page.page.locator(".jupyter-matplotlib-canvas-div canvas").first
    # The new kernel has to import TensorFlow first.
    canvas.wait_for(timeout=1000 * RUN_SECONDS)
    assert page.errors() == []


@pytest.mark.slow
@pytest.mark.parametrize("width", [700, 900, 1800])
def test_controls_stay_in_the_window_at_every_width(lab: OpenNotebook, width: int) -> None:
    page = lab(ONE_CELL, "explorer.location = (20, 10)", viewport=(width, 1000))
    page.wait_picture_equal(CANVAS)
    page.screenshot(f"lab-{width}")
    parts = "button:not(.jupyter-matplotlib-toolbar *), select, input, img, .noUi-target, .vgg-bar"
    for panel in ("Location", "Display", "Circuit", "Play", "Open & save"):
        page.click_button(panel)
        page.wait_value("explorer.panel", panel)
        page.page.wait_for_timeout(300)
        page.screenshot(f"lab-{width}-{panel.split()[0]}")
        for part in page.page.locator(f".vgg-explorer :is({parts}):visible").all():
            box = part.bounding_box()
            assert box is not None
            assert box["x"] + box["width"] <= width, part.evaluate("part => part.outerHTML")
        cut = page.page.locator(".vgg-explorer .widget-button:visible").evaluate_all(
            "buttons => buttons.filter((one) => one.scrollWidth > one.clientWidth)"
            ".map((one) => one.innerText)"
        )
        assert cut == []
    for label in ("layer", "more", "colors", "range", "channel"):
        assert page.control(label).is_visible()


@pytest.mark.slow
@pytest.mark.parametrize("width", [900, 1400])
def test_the_figure_is_as_wide_as_the_page_has_room_for(lab: OpenNotebook, width: int) -> None:
    page = lab(ONE_CELL, viewport=(width, 1000), fresh=True)
    page.page.evaluate("jupyterapp.commands.execute('application:toggle-left-area')")
    room = page.page.locator(".vgg-explorer").evaluate("root => root.clientWidth")
    wanted = min(1056, room - 44)
    assert (wanted < 1056) == (width == 900)
    page.wait_value(f"abs(explorer.figure.bbox.width - {wanted}) <= 24", value=True)
    picture = page.wait_picture_equal(CANVAS)
    across, up = page.ask("explorer.figure.get_size_inches().tolist()")
    assert abs(picture.height / picture.width - up / across) < 0.01
    toolbar = page.page.locator(".jupyter-matplotlib-toolbar").bounding_box()
    assert toolbar is not None
    assert toolbar["x"] + toolbar["width"] <= width
    # A click selects the location under the mouse.
    shown = side_of(page, MAP)
    left, top, right, bottom = shown.limits
    page.click_canvas(shown.point((left + right) / 2, (top + bottom) / 2))
    page.wait_value("explorer.location is not None", value=True)
    row, column = page.ask("explorer.location")
    height, across = page.ask("explorer.activations.image.shape[:2]")
    assert abs(row / height - 0.5) < 0.06
    assert abs(column / across - 0.5) < 0.06
    page.wait_picture_equal(CANVAS)
    assert page.errors() == page.console_errors() == []


LONG_NAMES = """
from vgg_widget import register_mode

@register_mode("the larger half of all the values")
def _half(maps, _):
    return maps.max(axis=-1)
"""


FONTS = ("none", "16px DejaVu Sans Mono", "bold 15px serif", "11px cursive")


@pytest.mark.slow
def test_every_word_has_room_in_every_font(lab: OpenNotebook) -> None:
    page = lab(f"{LONG_NAMES}\n{ONE_CELL}", viewport=(1800, 1000), fresh=True)
    page.wait_picture_equal(CANVAS)
    for font in FONTS:
        # Firefox uses another font for dropdowns than Chromium.
        style = f".vgg-explorer :is(select, label) {{ font: {font} !important }}"
        page.page.add_style_tag(content=style)
        page.ask("explorer.mode = 'channel'\nNone")
        for names, option in (
            ("keras", "┌ block1"),
            ("torchvision", "features.30"),
            ("paper", "relu5_4"),
            ("both", "before ReLU · block5"),
        ):
            page.ask(f"explorer.layer_names = {names!r}\nNone")
            expect(page.control("layer").locator("select")).to_contain_text(option)
            assert page.cut_words() == []
        page.ask("explorer.mode = 'grid'\nNone")
        for panel, control in (("Display", "theme"), ("Play", "speed")):
            page.ask(f"explorer.panel = {panel!r}\nNone")
            for label in ("order", "more", "range", control):
                expect(page.control(label)).to_be_visible()
            page.screenshot(f"lab-font-{font}-{panel}")
            assert page.cut_words() == []
