"""Pictures of each mode, compared with baseline images that were inspected and accepted.

``pytest -o mpl-baseline-path= --mpl-generate-path=tests/pictures tests/test_pictures.py`` redraws
the baselines: inspect each before you commit it. Other versions of the drawing library may differ
by 2 of 255 levels (root mean square over all pixels); one wrong tile differs far more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.figure import Figure

from tests.conftest import make_activations, pixels_of
from vgg_widget import Activations, plot
from vgg_widget.pictures.scaling import Scale

as_accepted = pytest.mark.mpl_image_compare(
    tolerance=2, style="default", remove_text=True, savefig_kwargs={"dpi": 80}
)


@pytest.fixture(scope="module")
def blobs() -> Activations:
    """Return eight channels before ReLU: blobs that move right and grow weaker; one is dead."""
    rows, columns = np.mgrid[:12, :16]
    maps = np.empty((12, 16, 8), np.float32)
    for k in range(8):
        distance = (rows - 2 - k) ** 2 / 6 + (columns - 1 - 2 * k) ** 2 / 10
        maps[..., k] = (8 - k) * np.exp(-distance) - 0.5 * np.cos(columns / 2 + k)
    maps[..., 4] = 0
    return make_activations(maps, before_relu=True, stride=8)


def drawn(activations: Activations, *names: str, **options: Any) -> Figure:
    figure = Figure(figsize=(3, 2))
    ax = figure.add_axes((0.02, 0.02, 0.96, 0.96))
    plot(activations, *names, ax=ax, **options)
    # Releases of matplotlib round differently if a picture's pixel ends within a pixel of the
    # canvas (240×160), or if a grid is enlarged twofold.
    height, width = np.asarray(ax.images[0].get_array()).shape[:2]
    side = 8 / 3 if "grid" in names else 12
    ax.set_position((4 / 240, 8 / 160, side * width / 240, side * height / 160))
    for bar in figure.axes[1:]:
        bar.set_position((204 / 240, 8 / 160, 8 / 240, 144 / 160))
    # Fonts differ between computers.
    for axes in figure.axes:
        axes.set_ylabel("")
    # So do legends, because of their fonts; tests/test_plotting.py tests their lines.
    if (legend := ax.get_legend()) is not None:
        legend.remove()
    return figure


@as_accepted
def test_channel(blobs: Activations) -> Figure:
    return drawn(blobs, "conv", "channel", channel=1)


@as_accepted
def test_channel_in_grey_on_its_own_scale(blobs: Activations) -> Figure:
    return drawn(blobs, "conv", channel=1, cmap="gray", scale="channel")


@as_accepted
def test_channel_before_relu(blobs: Activations) -> Figure:
    return drawn(blobs, "features.0", channel=3, cmap="coolwarm", scale="channel")


@as_accepted
def test_dead_channel(blobs: Activations) -> Figure:
    return drawn(blobs, "conv", channel=4)


@as_accepted
def test_clipped_at_both_ends(blobs: Activations) -> Figure:
    return drawn(blobs, "features.0", channel=0, cmap="coolwarm", scale=Scale("layer", 70))


@as_accepted
def test_grid(blobs: Activations) -> Figure:
    return drawn(blobs, "conv", "grid", scale="layer")


@as_accepted
def test_grid_with_each_tile_by_itself(blobs: Activations) -> Figure:
    return drawn(blobs, "conv", "grid", scale="channel", channels=range(7))


@as_accepted
def test_max(blobs: Activations) -> Figure:
    return drawn(blobs, "conv", "max")


@as_accepted
def test_mean(blobs: Activations) -> Figure:
    return drawn(blobs, "conv", "mean", scale="channel")


@as_accepted
def test_argmax(blobs: Activations) -> Figure:
    return drawn(blobs, "conv", "argmax")


@as_accepted
def test_composite(blobs: Activations) -> Figure:
    return drawn(blobs, "conv", "composite", channels=(0, 3, 6))


@as_accepted
def test_rgb(blobs: Activations) -> Figure:
    return drawn(blobs, "conv", "rgb", channels=(1, 3, 6), scale="channel")


@as_accepted
def test_rainbow(blobs: Activations) -> Figure:
    return drawn(blobs, "conv", "rainbow", channels=range(8), scale="layer")


def test_the_pictures_would_notice_a_wrong_tile(blobs: Activations) -> None:
    def pixels(**options: Any) -> npt.NDArray[np.float64]:
        return pixels_of(drawn(blobs, "conv", "grid", colorbar=False, **options)).astype(float)

    right, wrong = pixels(), pixels(channels=(0, 1, 2, 5, 4, 3, 6, 7))
    assert np.sqrt(((right - wrong) ** 2).mean()) > 2 * 2
