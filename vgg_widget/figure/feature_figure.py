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

# Left, bottom, width and height, as fractions of the figure; the histogram stands between the
# map and the bar.
_INPUT = (0.012, 0.055, 0.408, 0.865)
_MAP = (0.442, 0.055, 0.408, 0.865)
_BAR = (0.899, 0.055, 0.018, 0.865)
_LEGEND = (0.862, 0.055, 0.135, 0.865)


class FeatureFigure(LinkedFigure):
    """The input image, the picture on show, and its colorbar, on one figure.

    Parameters
    ----------
    figure : Figure
        An empty figure; its canvas is drawn on at every `show`.
    """

    def __init__(self, figure: Figure) -> None:
        super().__init__(figure, [_INPUT], [_MAP], {"activation": _BAR}, _LEGEND)

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
        marking: Marks | None = None,
    ) -> None:
        """Show another rendering, and draw.

        Parameters
        ----------
        rendering : Rendering
            What to show.
        image : ndarray of uint8, shape (H, W, 3)
            The picture as the network saw it.
        place : Placement or float
            Where the layer's map lies on the image; a number is its stride, from the corner.
        source : str
            A line at the foot that says where the numbers come from, for a picture that is taken
            away; beside a live figure that is said in a widget.
        marking : Marks, optional
            What is marked on the two pictures; nothing by default.
        """
        self._update((rendering,), (image,), place, source, marking)

    def _twin(self, source: str) -> LinkedFigure:
        twin = FeatureFigure(new_figure())
        twin.show(self._renderings[0], self._images[0], self._place, source, self._marking)
        return twin


def static_figure(
    rendering: Rendering, image: RGB8, place: float | Placement, source: str
) -> Figure:
    """Return a figure as the explorer shows it, with the line at the foot; see `show`."""
    figure = new_figure()
    FeatureFigure(figure).show(rendering, image, place, source)
    return figure
