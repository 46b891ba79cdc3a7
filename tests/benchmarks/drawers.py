"""Four ways to show a feature map in the page, each with its own slider and dropdown.

`bench_browser.py` puts them one below the other in one notebook. All show the same renderings; they
differ in how the pixels reach the page.
"""

from __future__ import annotations

import io
import zlib
from itertools import count
from typing import Any

import ipywidgets as widgets
import numpy as np
import numpy.typing as npt
from ipykernel.comm import Comm
from ipympl.backend_nbagg import Canvas, FigureManager
from matplotlib.figure import Figure
from PIL import Image

from vgg_widget import Activations, FeatureExtractor, LayerExplorer, render, sample_image
from vgg_widget.figure.sizes import DPI, FIGURE_INCHES, TOOLBAR_PIXELS, whole_frame
from vgg_widget.pictures.modes import Rendering

RGB8 = npt.NDArray[np.uint8]

# The width of the feature map in the two matplotlib figures.
WIDTH = "345px"
# Limits the explorer's figure to the size of the stock idiom's.
FIGURE_WIDTH = f"{round(FIGURE_INCHES[0] * DPI) + TOOLBAR_PIXELS}px"


class Stepper:
    """A channel slider and a layer dropdown, like the explorer's, above a view.

    Parameters
    ----------
    view : Widget
        The widget that shows the pixels.
    activations : Activations
        The activations to render.
    """

    def __init__(self, view: Any, activations: Activations) -> None:
        self.activations = activations
        self.channel = widgets.IntSlider(description="channel", max=63)
        self.layer = widgets.Dropdown(description="layer", options=list(activations))
        self.mode = "channel"
        for control in (self.channel, self.layer):
            control.observe(self._changed, "value")
        self.box = widgets.VBox([widgets.HBox([self.channel, self.layer]), view])
        self.draw(self.rendering())

    def rendering(self) -> Rendering:
        """Render what the controls select."""
        chosen = self.layer.value, self.mode
        return render(self.activations, *chosen, channel=self.channel.value)

    def prepare(self, mode: str, layer: str) -> None:
        """Show another mode and layer."""
        with self.layer.hold_trait_notifications():
            self.mode = mode
            self.layer.value = layer
        self.draw(self.rendering())

    def draw(self, rendering: Rendering) -> None:
        """Show a rendering in the page."""
        raise NotImplementedError

    def truth(self) -> RGB8:
        """Return the pixels (h, w, 3) that the page must show for the controls' values."""
        raise NotImplementedError

    def _changed(self, _: object) -> None:
        self.draw(self.rendering())


class Stock(Stepper):
    """The usual code in a notebook: `set_data`, and `draw_idle` on an ipympl canvas."""

    def __init__(self, activations: Activations) -> None:
        self.figure = Figure(figsize=FIGURE_INCHES, dpi=DPI)
        self.canvas = Canvas(self.figure)
        FigureManager(self.canvas, 0)
        left, self.axes = self.figure.subplots(1, 2)
        left.imshow(activations.image)
        left.set_title("input")
        self.shown: Any = None
        super().__init__(self.canvas, activations)

    def draw(self, rendering: Rendering) -> None:
        self.set(rendering)
        self.canvas.draw_idle()

    def set(self, rendering: Rendering) -> None:
        """Update the artists."""
        values = self._values(rendering)
        if self.shown is None:
            self.shown = self.axes.imshow(values)
            self.figure.colorbar(self.shown, ax=self.axes)
        height, width = values.shape[:2]
        self.shown.set_data(values)
        self.shown.set_extent((-0.5, width - 0.5, height - 0.5, -0.5))
        if rendering.vmin is not None:
            self.shown.set_clim(rendering.vmin, rendering.vmax)
        self.axes.set_title(rendering.title)

    @staticmethod
    def _values(rendering: Rendering) -> npt.NDArray[Any]:
        return rendering.rgba if rendering.values is None else rendering.values

    def truth(self) -> RGB8:
        assert np.array_equal(self.shown.get_array(), self._values(self.rendering()))
        return drawn_on(self.canvas)


class Png(Stepper):
    """Only the map, as a PNG in an `ipywidgets.Image`; a palette PNG if there is a colormap."""

    def __init__(self, activations: Activations) -> None:
        self.view = widgets.Image(format="png", layout=widgets.Layout(width=WIDTH))
        super().__init__(self.view, activations)

    def draw(self, rendering: Rendering) -> None:
        self.view.value = self.encoded(rendering)

    @staticmethod
    def encoded(rendering: Rendering) -> bytes:
        """Return a small PNG of a rendering."""
        low, high, values = rendering.vmin, rendering.vmax, rendering.values
        if rendering.colormap is None or values is None or low is None or not high:
            pixels = Image.fromarray(np.ascontiguousarray(rendering.rgba[..., :3]))
        else:
            share = np.clip((values - low) / (high - low), 0, 1)
            pixels = Image.fromarray((share * 255).astype(np.uint8))
            table = rendering.colormap(np.arange(256) / 255, bytes=True)[:, :3]
            pixels.putpalette(table.tobytes())
        with io.BytesIO() as png:
            pixels.save(png, "png", compress_level=1)
            return png.getvalue()

    def truth(self) -> RGB8:
        picture = Image.open(io.BytesIO(self.encoded(self.rendering())))
        return np.asarray(picture.convert("RGB"))


class Raw(Stepper):
    """The map's RGBA values, not encoded, sent over a comm to a bare canvas."""

    def __init__(self, activations: Activations) -> None:
        self._comm: Comm | None = None
        canvas = widgets.HTML(f'<canvas class="raw-pixels" style="width: {WIDTH}"></canvas>')
        super().__init__(canvas, activations)

    def draw(self, rendering: Rendering) -> None:
        if self._comm is None:
            self._comm = Comm(target_name="raw_pixels")  # type: ignore[no-untyped-call]
        height, width = rendering.rgba.shape[:2]
        self._comm.send({"width": width, "height": height}, buffers=[rendering.rgba.tobytes()])

    def truth(self) -> RGB8:
        return self.rendering().rgba[..., :3]


class Bench:
    """All four drawers, on one photograph.

    Parameters
    ----------
    weights : str
        See `LayerExplorer`.
    """

    def __init__(self, weights: str = "random") -> None:
        self.explorer = LayerExplorer(sample_image(), weights=weights, max_width=FIGURE_WIDTH)
        seen = self.explorer.activations
        self.stock = Stock(seen)
        self.steppers = {"stock": self.stock, "image": Png(seen), "raw": Raw(seen)}
        self._gammas = count(1)
        boxes = {"explorer": self.explorer, **{n: s.box for n, s in self.steppers.items()}}
        for name, box in boxes.items():
            box.add_class(f"drawer-{name}")
        self.box = widgets.VBox(list(boxes.values()))

    def prepare(self, mode: str, layer: str) -> None:
        """Show another mode and layer in all four."""
        with self.explorer.hold_trait_notifications():
            self.explorer.mode, self.explorer.layer, self.explorer.gamma = mode, layer, None
        for stepper in self.steppers.values():
            stepper.prepare(mode, layer)

    def page_paints(self) -> bool:
        """Return whether the explorer's page has everything it needs to paint channels itself."""
        return bool(self.explorer.canvas.held)

    def other_maps(self) -> None:
        """Give the explorer a gamma for which its page has no maps yet."""
        self.explorer.gamma = 0.6 + next(self._gammas) / 1000

    def frame_bytes(self) -> int:
        """Return the size in bytes of a whole frame of the explorer."""
        rgba = drawn_on(self.explorer.canvas, 4)
        return len(whole_frame(rgba))

    def map_box(self, name: str) -> tuple[int, int, int, int]:
        """Return the map's left, top, right and bottom on the explorer's canvas, or on stock's."""
        figure = (self.explorer if name == "explorer" else self.stock).figure
        axes = figure.axes[1]
        box, height = axes.get_window_extent(), figure.bbox.height
        # Leave out the outermost pixels, which the map may cover only in part.
        left, top = round(box.x0) + 1, round(height - box.y1) + 1
        return left, top, round(box.x1) - 1, round(height - box.y0) - 1

    def truth(self, name: str) -> dict[str, int]:
        """Return the channel, and size and checksum of the RGB bytes that a page must show.

        For the explorer, add the checksum of the map alone, which the page paints over the canvas.
        """
        pixels = np.ascontiguousarray(self._pixels(name))
        ours = name == "explorer"
        truth = {
            "channel": self.explorer.channel if ours else self.steppers[name].channel.value,
            "height": pixels.shape[0],
            "width": pixels.shape[1],
            "crc": zlib.crc32(pixels.data),
        }
        if ours:
            left, top, right, bottom = self.map_box(name)
            inside = np.ascontiguousarray(pixels[top:bottom, left:right])
            truth["seen"] = zlib.crc32(inside.data)
        return truth

    def _pixels(self, name: str) -> RGB8:
        if name != "explorer":
            return self.steppers[name].truth()
        one = self.explorer
        wanted = render(one.activations, one.layer, one.mode, channel=one.channel)
        assert one.rendering is not None
        assert np.array_equal(one.rendering.rgba, wanted.rgba)
        return drawn_on(one.canvas)


_first: dict[str, Any] = {}


def first(name: str) -> widgets.Widget:
    """Return a new ``"stock"`` or ``"explorer"`` drawer for a cell, and close the previous one.

    Each one runs its own forward pass.
    """
    if name in _first:
        _first[name].close()
    if name == "explorer":
        box = LayerExplorer(sample_image(), weights="random", max_width=FIGURE_WIDTH)
    else:
        box = Stock(FeatureExtractor("random")(sample_image())).box
    box.add_class(f"drawer-first_{name}")
    _first[name] = box
    return box


def drawn_on(canvas: Any, channels: int = 3) -> RGB8:
    """Return the pixels that an ipympl canvas has drawn; with 4 channels, alpha too."""
    pixels: RGB8 = np.asarray(canvas.get_renderer().buffer_rgba())[..., :channels]
    return pixels
