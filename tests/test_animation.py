"""Tests of animations over channels and layers, and of the GIF, which Pillow reads back."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.conftest import make_activations, pixels_of
from vgg_widget import Activations, render, telling_channels
from vgg_widget.figure.animation import FigureFrames, Frames, frames, save_gif, write_gif
from vgg_widget.figure.feature_figure import FeatureFigure, static_figure
from vgg_widget.pictures.captions import source_line
from vgg_widget.pictures.modes import Rendering

RGB8 = npt.NDArray[np.uint8]


@pytest.fixture
def made() -> Activations:
    """Return a layer of 5 channels, 8×10 for an image of 32×40, and a layer of 3 channels."""
    random = np.random.default_rng(3)
    maps = random.random((8, 10, 5)).astype(np.float32)
    deep = 9 * random.random((4, 5, 3)).astype(np.float32)
    return make_activations(maps, others={"deep": deep}, stride=4)


def read_back(path: Path) -> tuple[list[RGB8], list[int]]:
    """Return the frames of a GIF as a viewer shows them, and their durations in milliseconds."""
    with Image.open(path) as gif:
        pictures, times = [], []
        for index in range(gif.n_frames):  # type: ignore[attr-defined]
            gif.seek(index)
            pictures.append(np.array(gif.convert("RGB")))
            times.append(int(gif.info["duration"]))
    return pictures, times


def plain(count: int, side: int = 8) -> list[RGB8]:
    """Return pictures that are each a single shade of grey."""
    return [np.full((side, side, 3), 20 * index, np.uint8) for index in range(count)]


# Channels and layers -----------------------------------------------------------------------------


def same(one: Rendering, other: Rendering) -> bool:
    return one.title == other.title and np.array_equal(one.rgba, other.rgba)


def test_through_the_channels_of_a_layer(made: Activations) -> None:
    walk = frames(made, "channels", layer="conv", cmap="magma", scale="channel")
    assert len(walk) == 5
    for channel, picture in enumerate(walk):
        expected = render(made, "conv", channel=channel, cmap="magma", scale="channel")
        assert same(picture, expected)
    some = frames(made, layer="deep", channels=(2, 0))
    assert [picture.channels for picture in some] == [(2,), (0,)]
    assert [picture.layer for picture in frames(made)[:2]] == ["conv", "conv"]


@pytest.mark.parametrize("mode", ["channel", "grid", "max", "argmax", "rgb", "composite"])
def test_through_the_layers_in_network_order(activations: Activations, mode: str) -> None:
    walk = frames(activations, "layers", mode=mode)
    assert [picture.layer for picture in walk] == [info.name for info in activations.layers]
    assert {picture.mode for picture in walk} == {mode}


def test_its_repr_is_short(made: Activations) -> None:
    walk = frames(made)
    assert repr(walk) == "<Frames: 5 pictures>"
    assert repr(FigureFrames(walk[1:], 400)) == "<FigureFrames: 4 pictures, 400 pixels wide>"


def test_a_layer_with_fewer_channels_shows_what_it_has(made: Activations) -> None:
    walk = frames(made, "layers", channel=4)
    assert [picture.channels for picture in walk] == [(4,), (2,)]
    walk = frames(made, "layers", channels=[4])
    assert [picture.channels for picture in walk] == [(4,), (2,)]
    walk = frames(made, "layers", mode="max", channels=(4, 1, 2))
    assert [picture.channels for picture in walk] == [(4, 1, 2), (1, 2)]
    # "deep" has only two of the three channels: "rgb" falls back to its most telling three.
    walk = frames(made, "layers", mode="rgb", channels=(4, 1, 2))
    assert walk[0].channels == (4, 1, 2)
    assert walk[1].channels == tuple(telling_channels(made, "deep", 3).tolist())


def test_named_layers_by_any_of_their_names(activations: Activations) -> None:
    walk = frames(activations, "layers", layers=("features.10", "block1_conv1"))
    assert [picture.layer for picture in walk] == ["features.10", "block1_conv1"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"over": "chanels"}, r"over 'chanels' .*did you mean 'channels'"),
        ({"layer": "con"}, r"layer 'con' .*did you mean 'conv'"),
        ({"mode": "grid"}, r"mode 'grid' shows several channels at once: go through"),
        ({"mode": "gird"}, r"mode 'gird' .*did you mean 'grid'"),
        ({"channels": (1, 5)}, r"channel 5 is not in layer 'conv', which has 5 channels"),
        ({"channels": ()}, r"channels is empty: name at least one"),
        ({"over": "layers", "layers": ("conv", "deap")}, r"layer 'deap' .*did you mean 'deep'"),
        ({"over": "layers", "layers": ()}, r"layers is empty"),
        (
            {"over": "layers", "layers": "conv"},
            r"layers 'conv' is not a list: pass several",
        ),
        ({"channels": 3}, r"channels 3 is not a list: pass several in parentheses"),
        ({"over": "layers", "channels": 3}, r"channels 3 is not a list"),
        (
            {"over": "layers", "channels": (1, 2)},
            r"has 2 numbers.*'channel' shows one channel",
        ),
        (
            {"over": "layers", "layer": "conv"},
            r"layer 'conv' is not .* layers: leave it out, or give over='channels'",
        ),
        (
            {"layers": ("conv",)},
            r"layers \('conv',\) is not .* through channels: .* over='layers'",
        ),
        ({"channel": 2}, r"channel 2 is not for a walk through channels: leave it out"),
    ],
)
def test_wrong_arguments_raise_before_anything_is_drawn(
    made: Activations, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        frames(made, **options)  # type: ignore[arg-type]


# Frames ------------------------------------------------------------------------------------------


def test_each_frame_is_the_explorers_figure(activations: Activations) -> None:
    for walk in (
        frames(activations, layer="block3_conv1", channels=(0, 5)),
        frames(activations, "layers", mode="max", layers=("block1_conv1", "block4_pool")),
        frames(activations, "layers", mode="grid", layers=("block5_pool",)),
    ):
        for rendering, picture in zip(walk, FigureFrames(walk), strict=True):
            place = activations.info(rendering.layer).placement
            source = source_line(activations, rendering)
            alone = static_figure(rendering, activations.image, place, source)
            drawn = pixels_of(alone)
            np.testing.assert_array_equal(picture[: len(drawn)], drawn)
            # A frame of a grid is padded to the height of the tallest possible grid.
            assert rendering.tiles is not None or len(drawn) == len(picture)
            assert (picture[len(drawn) :] == 255).all()


def test_one_figure_serves_all_frames(made: Activations, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    begin = FeatureFigure.__init__

    def counted(self: FeatureFigure, *arguments: object) -> None:
        built.append(self)
        begin(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(FeatureFigure, "__init__", counted)
    assert len(list(FigureFrames(frames(made)))) == 5
    assert len(built) == 1


@pytest.mark.parametrize("width", [200, 385, 1000])
def test_frames_of_another_width(made: Activations, width: int) -> None:
    walk = frames(made, channels=(1,))
    across, up = static_figure(walk[0], made.image, 4, "a source").get_size_inches()
    (picture,) = FigureFrames(walk, width)
    assert picture.shape == (int(width * up / across), width, 3)


def test_frames_of_grids_of_different_shapes_have_one_size() -> None:
    # 64 channels make 8 rows of 8 tiles, and 128 channels make 16 rows of 8.
    rng = np.random.default_rng(6)
    maps, others = (rng.random((16, 16, count)).astype(np.float32) for count in (64, 128))
    walk = FigureFrames(frames(make_activations(maps, others={"b": others}), "layers", mode="grid"))
    shapes = {picture.shape for picture in walk}
    assert len(shapes) == 1
    with io.BytesIO() as stream:
        write_gif(stream, walk)
        with Image.open(stream) as again:
            assert again.n_frames == 2  # type: ignore[attr-defined]
            assert (again.size[1], again.size[0]) == shapes.pop()[:2]


@pytest.mark.parametrize("width", [0, 199, 3001])
def test_a_width_out_of_range_is_refused(made: Activations, width: int) -> None:
    with pytest.raises(ValueError, match=f"width {width} .*from 200 to 3000"):
        FigureFrames(frames(made), width)


# The file ----------------------------------------------------------------------------------------


@pytest.fixture
def gif(activations: Activations, tmp_path: Path) -> tuple[Frames, list[RGB8]]:
    """Return a walk through eight channels, and the frames of its GIF as a viewer shows them."""
    walk = frames(
        activations, layer="block2_conv1", channels=range(8), cmap="viridis", scale="layer"
    )
    save_gif(tmp_path / "walk.gif", FigureFrames(walk), 0.1)
    pictures, times = read_back(tmp_path / "walk.gif")
    assert times == [100] * 8
    return walk, pictures


def test_each_frame_shows_its_channels_colours(
    activations: Activations, gif: tuple[Frames, list[RGB8]]
) -> None:
    maps = activations["block2_conv1"]
    top = np.percentile(maps[maps > 0].astype(float), 99.9)
    paint = mpl.colormaps["viridis"]
    figure = static_figure(gif[0][0], activations.image, 2, "a source")
    pixels_of(figure)  # the position of an axes is computed when it is drawn
    axes = figure.axes[1]
    rows, columns = np.mgrid[: maps.shape[0], : maps.shape[1]]
    # Each location covers 2×2 pixels of the image; this is the centre of each such square.
    points = np.stack([2 * columns.ravel() + 0.5, 2 * rows.ravel() + 0.5], axis=-1)
    across, up = axes.transData.transform(points).T
    for channel, picture in enumerate(gif[1]):
        colours = picture[(picture.shape[0] - up).astype(int), across.astype(int)].astype(int)
        off = [
            np.abs(colours - 255 * paint(maps[..., k].ravel() / top)[:, :3]).mean()
            for k in range(8)
        ]
        assert int(np.argmin(off)) == channel
        assert off[channel] < 6


def test_unchanged_pixels_do_not_flicker(
    activations: Activations, gif: tuple[Frames, list[RGB8]]
) -> None:
    pictures = np.stack(gif[1])
    true = np.stack(list(FigureFrames(gif[0])))
    still = (true == true[0]).all(axis=(0, 3))
    assert 0.5 < still.mean() < 1
    assert (pictures == pictures[0])[:, still].all()
    photograph = np.abs(pictures[0, 40:360, 20:320].astype(int) - true[0, 40:360, 20:320])
    assert photograph.mean() < 6


def test_colours_of_late_frames_are_in_the_palette(tmp_path: Path) -> None:
    # The palette is taken from six of these pictures, one of which is the last.
    images = [np.full((20, 20, 3), 10 * index, np.uint8) for index in range(20)]
    images.append(np.full((20, 20, 3), (255, 0, 0), np.uint8))
    save_gif(tmp_path / "a.gif", images)
    last = read_back(tmp_path / "a.gif")[0][-1]
    assert np.abs(last[0, 0].astype(int) - (255, 0, 0)).max() <= 8


@pytest.mark.parametrize(
    ("seconds", "milliseconds"), [(0.02, 20), (0.05, 50), (0.333, 330), (2, 2000)]
)
def test_a_gif_repeats_forever_with_the_given_duration(
    tmp_path: Path, seconds: float, milliseconds: int
) -> None:
    save_gif(tmp_path / "a.GIF", plain(3), seconds)
    pictures, times = read_back(tmp_path / "a.GIF")
    assert times == [milliseconds] * 3
    assert [int(picture[0, 0, 0]) for picture in pictures] == pytest.approx([0, 20, 40], abs=4)
    with Image.open(tmp_path / "a.GIF") as again:
        assert again.info["loop"] == 0
        assert again.format == "GIF"


def test_equal_pictures_in_a_row_become_one_longer_frame(tmp_path: Path) -> None:
    one, other = plain(2)
    save_gif(tmp_path / "a.gif", [one, one, other], 0.1)
    assert read_back(tmp_path / "a.gif")[1] == [200, 100]


def test_one_picture_alone(tmp_path: Path) -> None:
    save_gif(tmp_path / "a.gif", plain(1))
    with Image.open(tmp_path / "a.gif") as again:
        assert again.size == (8, 8)


def test_progress_is_called_after_each_frame(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    save_gif(tmp_path / "a.gif", plain(4), progress=lambda *step: calls.append(step))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_same_bytes_go_to_memory(tmp_path: Path) -> None:
    save_gif(tmp_path / "a.gif", plain(4), 0.5)
    with io.BytesIO() as stream:
        write_gif(stream, plain(4), 0.5)
        assert stream.getvalue() == (tmp_path / "a.gif").read_bytes()


class Failing(Sequence[Any]):
    """Pictures whose third raises IndexError on its second request; the palette makes the first.

    A `for` loop over a sequence would take that error for the end of the sequence.
    """

    def __init__(self, images: Sequence[Any]) -> None:
        self._images = images
        self._asked = 0

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: Any) -> Any:
        self._asked += index == 2
        if index == 2 and self._asked > 1:
            raise IndexError("of a mode")
        return self._images[index]


def test_an_index_error_does_not_end_the_gif_early(tmp_path: Path) -> None:
    with pytest.raises(IndexError, match="of a mode"):
        save_gif(tmp_path / "a.gif", Failing(plain(5)))
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    target = tmp_path / "a.gif"
    target.write_bytes(b"old")

    def fail(done: int, _: int) -> None:
        if done == 2:
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        save_gif(target, plain(3), progress=fail)
    for options, message in (
        ({"path": tmp_path / "a.png"}, r"a\.png' does not end in \.gif"),
        ({"seconds": 0.01}, r"seconds 0\.01 .*from 0\.02 to 655\.35"),
        ({"seconds": float("nan")}, r"seconds nan "),
        ({"images": []}, r"images is empty"),
        (
            {"images": [*plain(2), plain(1)[0][:-1]]},
            r"images\[2\] has shape .* and images\[0\] has .*: give pictures of one size",
        ),
        # The palette is not taken from this picture.
        ({"images": [*plain(11), plain(1)[0][:-1], *plain(11)]}, r"images\[11\] has shape"),
    ):
        with pytest.raises(ValueError, match=message):
            save_gif(**{"path": target, "images": plain(3), **options})  # type: ignore[arg-type]
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.gif"]
