"""Four ways to bring a feature map to the page, each behind one slider or dropdown of its own.

This is the code of a notebook cell: `bench_browser.py` runs it in a real JupyterLab. All four show
the same renderings; they differ in how the pixels travel.
"""

# ruff: noqa
import io

import ipywidgets as widgets
import numpy as np
from ipykernel.comm import Comm
from ipympl.backend_nbagg import Canvas, FigureManager
from matplotlib.figure import Figure
from PIL import Image

from vgg_widget import FeatureExtractor, LayerExplorer, render, sample_image
from vgg_widget.figure import FIGURE_INCHES

extractor = FeatureExtractor("random")
picture = sample_image()
explorer = LayerExplorer(picture, extractor=extractor)
activations = explorer.activations
explorer.add_class("drawer-ours")
names = list(activations)


class Stepper:
    """A slider for the channel and a dropdown for the layer, as the explorer has."""

    def __init__(self, name, view):
        self.channel = widgets.IntSlider(description="channel", max=63)
        self.layer = widgets.Dropdown(description="layer", options=names)
        self.mode = "channel"
        for control in (self.channel, self.layer):
            control.observe(lambda _: self.update(), "value")
        self.box = widgets.VBox([widgets.HBox([self.channel, self.layer]), view])
        self.box.add_class(f"drawer-{name}")

    def rendering(self):
        return render(activations, self.layer.value, self.mode, channel=self.channel.value)

    def update(self):
        self.draw(self.rendering())


class Stock(Stepper):
    """What a notebook's author writes: `set_data`, and a redraw when ipympl finds the time."""

    def __init__(self):
        self.figure = Figure(figsize=FIGURE_INCHES)
        self.canvas = Canvas(self.figure)
        FigureManager(self.canvas, 0)
        left, self.axes = self.figure.subplots(1, 2)
        left.imshow(activations.image)
        left.set_title("input")
        self.shown = None
        super().__init__("stock", self.canvas)
        self.update()

    def draw(self, rendering):
        shape = rendering.rgba.shape
        values = rendering.rgba if rendering.values is None else rendering.values
        if self.shown is None:
            self.shown = self.axes.imshow(values)
            self.bar = self.figure.colorbar(self.shown, ax=self.axes)
        else:
            self.shown.set_data(values)
            self.shown.set_extent((-0.5, shape[1] - 0.5, shape[0] - 0.5, -0.5))
        if rendering.vmin is not None:
            self.shown.set_clim(rendering.vmin, rendering.vmax)
        self.axes.set_title(rendering.title)
        self.canvas.draw_idle()


class Png(Stepper):
    """The map alone as a PNG in an `ipywidgets.Image`, with a palette where colours allow."""

    def __init__(self):
        self.view = widgets.Image(format="png", layout=widgets.Layout(width="345px"))
        super().__init__("image", self.view)
        self.update()

    def draw(self, rendering):
        pixels = Image.fromarray(np.ascontiguousarray(rendering.rgba[..., :3]))
        if rendering.colormap is not None and rendering.vmax:
            share = (rendering.values - rendering.vmin) / (rendering.vmax - rendering.vmin)
            pixels = Image.fromarray((np.clip(share, 0, 1) * 255).astype(np.uint8))
            table = rendering.colormap(np.arange(256) / 255, bytes=True)[:, :3]
            pixels.putpalette(table.tobytes())
        with io.BytesIO() as png:
            pixels.save(png, "png", compress_level=1)
            self.view.value = png.getvalue()


class Raw(Stepper):
    """The map's RGBA as it is, over a comm, onto a bare canvas."""

    def __init__(self):
        view = widgets.HTML('<canvas class="raw-pixels" style="width: 345px"></canvas>')
        super().__init__("raw", view)
        self.comm = None

    def draw(self, rendering):
        if self.comm is None:
            self.comm = Comm(target_name="raw_pixels")
        height, width = rendering.rgba.shape[:2]
        self.comm.send({"width": width, "height": height}, buffers=[rendering.rgba.tobytes()])


stock, image, raw = Stock(), Png(), Raw()
widgets.VBox([explorer, stock.box, image.box, raw.box])
