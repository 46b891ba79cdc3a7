"""`plot`: the explorer's picture as a plain matplotlib figure."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from vgg_widget.activations.mapping import Activations
from vgg_widget.pictures.legend import first_entries
from vgg_widget.pictures.modes import DEFAULT_MODE, Rendering
from vgg_widget.pictures.rendering import render

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot(
    activations: Activations,
    layer: str,
    mode: str = DEFAULT_MODE,
    *,
    ax: Axes | None = None,
    colorbar: bool = True,
    **as_render: Any,
) -> Axes:
    """Draw one picture of a layer on matplotlib axes.

    Parameters
    ----------
    activations : Activations
        An image's activations from `FeatureExtractor`.
    layer, mode : str
        See `render`.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default the axes of a new pyplot figure. Orientation, aspect and colours
        are those of `render`; fonts, sizes and frames follow matplotlib's ``rcParams``. TeX is
        never used, since layer names are not TeX.
    colorbar : bool
        Whether to add a colorbar in activation units if colours stand for values, and a legend
        beside the axes if they stand for channels. The legend lists at most ten channels: those
        with the largest area or those named first.
    **as_render
        ``channel``, ``channels``, ``cmap``, ``scale``, ``order``, ``location`` and ``hide_dead``:
        see `render`.

    Returns
    -------
    matplotlib.axes.Axes
        In input pixels, so that the picture lies on the part of the image that the layer covers; a
        grid uses its own pixels.

    Raises
    ------
    ValueError
        See `render`. Also if `ax` was removed from its figure, or is polar, in three dimensions or
        otherwise not linear; nothing is drawn then.
    TypeError
        See `render`. Also if `ax` is a figure or an array of axes.
    """
    # Importing matplotlib's figures takes longer than importing the whole package.
    from vgg_widget.figure.color_bars import add_colorbar, has_color_scale
    from vgg_widget.figure.linked_figure import SMOOTH, BlendedImage, title_of
    from vgg_widget.figure.themes import PLAIN
    from vgg_widget.pictures.coordinates import map_extent, value_at

    rendering = render(activations, layer, mode, **as_render)
    _check_axes(ax)
    if ax is None:
        from matplotlib import pyplot as plt

        _, ax = plt.subplots(layout="constrained")
    place = activations.info(layer).placement
    picture = BlendedImage(
        ax,
        extent=map_extent(rendering, place),
        interpolation=SMOOTH if rendering.tiles else "nearest",
        # Otherwise `rcParams` could flip, stretch or blur the picture.
        origin="upper",
        interpolation_stage="rgba",
        resample=True,
    )
    picture.set_data(rendering.rgba)
    picture.set_clip_path(ax.patch)
    # Empty axes adopt the picture's limits.
    picture.set_extent(picture.get_extent())
    ax.add_image(picture)
    ax.set_aspect("equal")
    picture.set_mouseover(False)
    # No local function, so that the figure can be pickled.
    ax.format_coord = partial(value_at, rendering, place)  # type: ignore[method-assign]
    ax.set(xticks=[], yticks=[])
    ax.set_title(title_of(rendering), **PLAIN)
    figure = ax.figure.figure  # For a subfigure, the whole figure.
    if colorbar and has_color_scale(rendering):
        add_colorbar(figure, rendering, ax=ax)
    if colorbar and rendering.legend:
        _add_legend(ax, rendering)
    return ax


def _check_axes(ax: object) -> None:
    from matplotlib.axes import Axes

    advice = (
        "pass plain matplotlib axes, such as those of plt.subplots(), one alone, as in "
        "axes.flat[0], or leave ax out"
    )
    if ax is None:
        return
    if not isinstance(ax, Axes):
        raise TypeError(f"ax is a {type(ax).__name__}: {advice}.")
    if ax.get_figure() is None:
        raise ValueError(f"ax was removed from its figure: {advice}.")
    if ax.name == "3d" or not ax.transData.is_affine:
        raise ValueError(f"ax of projection {ax.name!r} is not linear: {advice}.")


def _add_legend(ax: Axes, rendering: Rendering) -> None:
    from matplotlib.patches import Patch

    from vgg_widget.figure.themes import PLAIN

    entries, left_out = first_entries(rendering.legend)
    handles = [Patch(facecolor=entry.color, label=entry.words) for entry in entries]
    if left_out:
        handles.append(Patch(visible=False, label=f"and {left_out} more"))
    legend = ax.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(1, 1),
        borderpad=0,
        fontsize="small",
        frameon=False,
        handlelength=1,
    )
    for text in legend.get_texts():
        text.set(**PLAIN)
