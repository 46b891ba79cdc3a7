"""The painter on a bare page: its pixels equal those of `render`."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from playwright.sync_api import Page, Playwright

from vgg_widget import Activations, FeatureExtractor, render, sample_image
from vgg_widget.page.planes import colours, packed, plane
from vgg_widget.page.scripts import joined
from vgg_widget.pictures.colormaps import find_cmap
from vgg_widget.pictures.scaling import Scale

from .desk import launch
from .sight import RGB8, decoded

pytestmark = pytest.mark.browser

# Takes planes as base64, and returns the canvas as a data URL.
PAINT = """async ({ data, size, number, width, table, placed, canvas: [across, down] }) => {
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const planes = await painter.unpacked(bytes(data), size);
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: across, height: down });
  const colours = new Uint32Array(bytes(table).buffer);
  painter.paintMap(canvas.getContext("2d"), planes[number], width, colours, placed);
  return canvas.toDataURL();
}"""


@pytest.fixture(scope="module")
def bare(
    chromium: tuple[Playwright, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Page]:
    context = launch(*chromium, tmp_path_factory.mktemp("profile"))
    page = context.new_page()
    module = files("vgg_widget.page").joinpath("painter.js").read_text(encoding="utf-8")
    page.evaluate(
        "async (text) => { window.painter = await import("
        "URL.createObjectURL(new Blob([text], { type: 'text/javascript' }))); }",
        module,
    )
    yield page
    context.close()


@pytest.fixture(scope="module")
def maps() -> Activations:
    return FeatureExtractor("random", size=96)(sample_image())


def painted(
    page: Page, planes: list[Any], number: int, cmap: str, grid: tuple[npt.NDArray[Any], ...]
) -> RGB8:
    rows, columns = grid
    taken, data = packed(planes)
    height, width = taken[0].indices.shape
    given = {
        "data": base64.b64encode(data).decode(),
        "size": height * width,
        "number": number,
        "width": width,
        "table": base64.b64encode(colours(find_cmap(cmap))).decode(),
        "placed": {"top": 3, "left": 5, "rows": rows.tolist(), "columns": columns.tolist()},
        "canvas": [len(columns) + 9, len(rows) + 8],
    }
    pixels = decoded(page.evaluate(PAINT, given))
    assert not pixels[:3].any()
    assert not pixels[:, :5].any()
    return pixels[3 : 3 + len(rows), 5 : 5 + len(columns)]


def test_every_layer_is_painted_as_render_draws_it(bare: Page, maps: Activations) -> None:
    scales: list[str | Scale] = ["auto", "channel", "layer", Scale("network", 99, 2.0)]
    cmaps = ["magma", "coolwarm", "tab10", "gray"]
    for number, layer in enumerate([*maps, "features.10"]):
        scale, cmap = scales[number % 4], cmaps[number // 2 % 4]
        height, width, _ = maps.shape(layer)
        # Rows and columns of uneven sizes, as on a canvas of arbitrary size.
        rows = np.sort(np.random.default_rng(number).integers(0, height, 150))
        columns = np.sort(np.random.default_rng(number).integers(0, width, 201))
        entries = find_cmap(cmap).N
        planes = [plane(maps, layer, entries, channel=channel, scale=scale) for channel in (3, 40)]
        for place, channel in enumerate((3, 40)):
            truth = render(maps, layer, channel=channel, scale=scale, cmap=cmap).rgba
            found = painted(bare, planes, place, cmap, (rows, columns))
            np.testing.assert_array_equal(found, truth[np.ix_(rows, columns)][..., :3])


def test_a_colorbar_has_colours_and_numbers_at_their_values(bare: Page) -> None:
    table = base64.b64encode(colours(find_cmap("magma"))).decode()
    code = """({ table, box, clipped, numbers }) => {
      const bytes = Uint8Array.from(atob(table), (letter) => letter.charCodeAt(0));
      const canvas = document.createElement("canvas");
      Object.assign(canvas, { width: 300, height: 300 });
      const context = canvas.getContext("2d");
      context.fillStyle = "white";
      context.fillRect(0, 0, 300, 300);
      const said = { clipped, numbers, label: ["activation", "a range"] };
      const colours = new Uint32Array(bytes.buffer);
      painter.paintBar(context, box, colours, said, "black", 1.39);
      return canvas.toDataURL();
    }"""
    for box in ([20.0, 30.3, 34.0, 250.9], [20.0, 30.0, 250.0, 42.0]):
        for clipped in ([False, False], [False, True], [True, True]):
            given = {"table": table, "box": box, "clipped": clipped, "numbers": [[0.5, "2"]]}
            pixels = decoded(bare.evaluate(code, given)).astype(int)
            left, top, right, bottom = box
            upright = bottom - top > right - left
            along = (bottom - top) if upright else (right - left)
            length = along / (1 + 0.05 * sum(clipped))
            start = 0.05 * length * clipped[0]
            for place in (0.1, 0.5, 0.9):
                at = start + place * length
                x, y = (27, bottom - at) if upright else (left + at, 36)
                entry = np.array(find_cmap("magma")(place, bytes=True)[:3], int)
                assert np.abs(pixels[int(y), int(x)] - entry).max() <= 8
            # The number is beside the middle of the range.
            middle = start + 0.5 * length
            dark = pixels.sum(axis=-1) < 200
            if upright:
                found = np.argwhere(dark[:, 42:50]).mean(axis=0)[0]
                assert abs(found - (bottom - middle)) < 3
            else:
                found = np.argwhere(dark[50:60]).mean(axis=0)[1]
                assert abs(found - (left + middle)) < 3


def test_a_list_has_a_swatch_beside_each_entry(bare: Page) -> None:
    code = """({ lines, places }) => {
      const canvas = document.createElement("canvas");
      Object.assign(canvas, { width: 200, height: 100 });
      const context = canvas.getContext("2d");
      context.fillStyle = "white";
      context.fillRect(0, 0, 200, 100);
      painter.paintList(context, lines, places, "black");
      return canvas.toDataURL();
    }"""
    lines = [["channel", "", 10, 12], ["17 · 30%", "#ff0000", 10, 40], ["2", "#0000ff", 10, 70]]
    places = {"points": 2, "list_points": 8, "swatch": 8, "beside_swatch": 13}
    pixels = decoded(bare.evaluate(code, {"lines": lines, "places": places}))
    for colour, middle in (((255, 0, 0), 40), ((0, 0, 255), 70)):
        rows, columns = np.nonzero((pixels == colour).all(axis=-1))
        assert (rows.min(), rows.max()) == (middle - 8, middle + 7)
        assert (columns.min(), columns.max()) == (10, 25)
    dark = pixels.sum(axis=-1) < 200
    for left, middle in ((10, 12), (36, 40), (36, 70)):
        assert dark[middle - 8 : middle + 8, left : left + 10].any()
        assert not dark[middle - 8 : middle + 8, :left].any()


def test_joined_modules_run_on_a_page(bare: Page) -> None:
    folder = files("vgg_widget")
    text = joined(
        folder.joinpath("page/painter.js"),
        *(
            folder.joinpath(f"explorer/{name}.js")
            for name in ("live_albums", "live_mouse", "live_painter", "helper")
        ),
    )
    kind = bare.evaluate(
        "async (text) => typeof (await import("
        "URL.createObjectURL(new Blob([text], { type: 'text/javascript' })))).default",
        text,
    )
    assert kind == "function"
