"""The explorer's figure: an input image beside a rendering, its colorbar or its legend."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vgg_widget.figure.linked_figure import LinkedFigure, new_figure, title_of
from vgg_widget.images import RGB8
from vgg_widget.layers import Placement
from vgg_widget.pictures.coordinates import Marks
from vgg_widget.pictures.modes import Rendering

__all__ = ["FeatureFigure", "new_figure", "static_figure", "title_of"]


class FeatureFigure(LinkedFigure):
    """The input image, the picture on show, and its colorbar, on one figure."""

    input_boxes = ((0.012, 0.055, 0.408, 0.865),)
    map_boxes = ((0.442, 0.055, 0.408, 0.865),)
    # The histogram stands between the map and the bar.
    bar_boxes = (("activation", (0.899, 0.055, 0.018, 0.865)),)
    legend_box = (0.862, 0.055, 0.135, 0.865)

    @property
    def map_axes(self) -> Axes:
        """The axes that hold the picture of the layer."""
        return self._maps[0].axes

    @property
    def input_axes(self) -> Axes:
        """The axes that hold the input image."""
        return self._inputs[0].axes

    def show(
        self,
        rendering: Rendering,
        image: RGB8,
        place: float | Placement,
        source: str = "",
        marks: Marks | None = None,
    ) -> None:
        """Show another rendering, and draw.

        `image` is as the network saw it, and `place` says where the layer's map lies on it, or is
        its stride from the corner. `source` is a line at the foot that says where the numbers come
        from, for a picture that is taken away; beside a live figure a widget says it.
        """
        self._update((rendering,), (image,), place, source, marks)


def static_figure(
    rendering: Rendering, image: RGB8, place: float | Placement, source: str
) -> Figure:
    """Return a figure as the explorer shows it, with the line at the foot; see `show`."""
    figure = new_figure()
    FeatureFigure(figure).show(rendering, image, place, source)
    return figure
