"""The user's matplotlib rcParams do not change the package's pictures, and stay unchanged."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pytest
from cycler import cycler
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from PIL import Image

from tests.conftest import make_activations, pixels_of
from vgg_widget import ChannelAtlas, FeatureExtractor, LayerExplorer, compare, plot
from vgg_widget.cli.command import main
from vgg_widget.figure.animation import FigureFrames, frames

Pixels = npt.NDArray[np.uint8]
Settings = dict[Any, Any]
Explore = Callable[..., LayerExplorer]

# A setting that is not a bool gets the first of these values that is valid and not its default.
VALUES: tuple[Any, ...] = (
    *(23.0, 0.3, 7, 2, [3.0, 9.0], [-1, 1], (9, 30, 20), cycler(color=["red"])),
    *("red", "lower", "auto", "data", "rgba", "left", "top", "in", "both", "x", "bold", "tight"),
    *("none", "round", "bevel", "stix", "bf", "nearest", "round_numbers"),
    *("landscape", "latex+dvipng", True),
)
# Values for settings that would accept meaningless ones.
SPECIFIC_VALUES: Settings = {
    "font.style": "italic",
    "font.variant": "small-caps",
    "image.cmap": "gray",
    "image.interpolation": "bicubic",
    "lines.marker": "o",
    "path.effects": [withStroke(linewidth=5, foreground="red")],
    "savefig.format": "svg",
    "text.language": "tr",
    **{f"grid.{kind}.alpha": 0.3 for kind in ("major", "minor")},
    **{f"figure.subplot.{side}": 0.3 for side in ("left", "bottom", "hspace", "wspace")},
    **{f"figure.subplot.{side}": 0.8 for side in ("right", "top")},
    **{f"font.{kind}": ["DejaVu Serif"] for kind in ("family", "serif", "sans-serif")},
}
# Settings of file formats, and of things that the package does not draw.
LEFT_OUT = {
    *("pdf.compression", "pdf.fonttype", "svg.fonttype", "svg.hashsalt", "svg.id"),
    *("animation", "axes3d", "boxplot", "contour", "date", "docstring", "errorbar", "hist"),
    *("keymap", "macosx", "pgf", "polaraxes", "ps", "scatter", "tk", "webagg"),
}


def another(name: Any) -> Any:
    """Return a value that a setting accepts, other than its default."""
    usual = mpl.rcParamsDefault[name]
    if isinstance(usual, bool):
        return not usual
    for value in (SPECIFIC_VALUES[name],) if name in SPECIFIC_VALUES else VALUES:
        try:
            taken = mpl.RcParams({name: value})[name]
        except (ValueError, TypeError, AttributeError, RuntimeError):
            continue
        if taken != usual:
            return taken
    raise AssertionError(f"VALUES has no value for {name}")


@contextmanager
def having(settings: Settings) -> Iterator[None]:
    """Apply a user's settings, and assert at the end that they are unchanged."""
    with warnings.catch_warnings(), mpl.rc_context():
        # Users may still have deprecated settings.
        warnings.simplefilter("ignore", mpl.MatplotlibDeprecationWarning)
        mpl.rcParams.update(settings)
        before = dict(mpl.rcParams.items())
        yield
        assert dict(mpl.rcParams.items()) == before


def _groups() -> dict[str, Settings]:
    groups: dict[str, Settings] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mpl.MatplotlibDeprecationWarning)
        for name in mpl.rcParamsDefault:
            group, dot, _ = name.partition(".")
            if dot and not LEFT_OUT & {group, name}:
                kept = group if group in NAMED else "others"
                for key in (kept, "everything"):
                    groups.setdefault(key, {})[name] = another(name)
    return groups


NAMED = ("axes", "figure", "font", "image", "path", "savefig", "text", "xtick", "ytick")
STYLES = ("classic", "dark_background", "fivethirtyeight", "ggplot", "seaborn-v0_8")
GROUPS = _groups()
"""The settings that could change a picture, each with a value other than its default."""

SETTINGS: dict[str, Settings] = {
    **GROUPS,
    **{name: dict(mpl.style.library[name]) for name in STYLES},
}
EVERYTHING = GROUPS["everything"]


def png(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGBA"))


def on_canvas(explorer: Any) -> Pixels:
    return np.array(explorer.canvas.get_renderer().buffer_rgba())


# The explorer ------------------------------------------------------------------------------------

STEPS: tuple[Settings, ...] = (
    {"channel": 3},
    {"overlay": 0.0, "mode": "grid"},
    {"mode": "argmax"},
    {"mode": "channel", "layer": "corners", "scale": "channel"},
    {"theme": "dark"},
)


def shown_by(explorer: LayerExplorer) -> list[Pixels]:
    """Return the canvas after each step, a redraw of the whole figure, and the saved image."""
    seen = [on_canvas(explorer)]
    for step in STEPS:
        with explorer.hold_trait_notifications():
            for name, value in step.items():
                setattr(explorer, name, value)
        seen.append(on_canvas(explorer))
    explorer.canvas.draw()
    return [*seen, on_canvas(explorer), png(explorer.to_bytes(".png"))]


START: Settings = {"channel": 1, "location": (7, 5), "overlay": 0.4}


@pytest.fixture(scope="module")
def plain(photo: Pixels, exact: FeatureExtractor) -> list[Pixels]:
    """Return the pictures under matplotlib's default settings."""
    explorer = LayerExplorer(photo, extractor=exact, **START)
    seen = shown_by(explorer)
    explorer.close()
    return seen


@pytest.mark.sampled
@pytest.mark.parametrize("first", [True, False], ids=["set before", "set after"])
@pytest.mark.parametrize("name", SETTINGS)
def test_no_setting_changes_what_an_explorer_shows_and_saves(
    explore: Explore, exact: FeatureExtractor, plain: list[Pixels], name: str, first: bool
) -> None:
    if not first:
        explorer = explore(extractor=exact, **START)
    with having(SETTINGS[name]):
        if first:
            explorer = explore(extractor=exact, **START)
        seen = shown_by(explorer)
    for number, (changed, usual) in enumerate(zip(seen, plain, strict=True)):
        np.testing.assert_array_equal(changed, usual, f"picture {number}")


@pytest.mark.sampled
@pytest.mark.parametrize("name", GROUPS)
def test_no_setting_changes_a_drawing_that_is_saved(
    explore: Explore,
    exact: FeatureExtractor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    # Without this date and the salt below, no two files are equal.
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    explorer = explore(extractor=exact, **START)
    for folder, settings in (("usual", {}), ("changed", GROUPS[name])):
        (tmp_path / folder).mkdir()
        with having({**settings, "svg.hashsalt": "the same"}):
            for suffix in ("svg", "pdf"):
                explorer.save(tmp_path / folder / f"picture.{suffix}")
    for suffix in ("svg", "pdf"):
        # One file for each format: no image is written into a second file.
        changed, usual = sorted(tmp_path.rglob(f"*{suffix}*"))
        assert changed.read_bytes() == usual.read_bytes()
    assert len(list(tmp_path.rglob("*.*"))) == 4


def test_the_users_settings_decide_how_files_store_text(
    explore: Explore, exact: FeatureExtractor
) -> None:
    explorer = explore(extractor=exact, layer="edges", channel=0)
    assert b"<text" not in explorer.to_bytes(".svg")
    with having({"svg.fonttype": "none", "pdf.fonttype": 42}):
        assert b">edges \xc2\xb7 channel 0</text>" in explorer.to_bytes(".svg")
        assert b"/CIDFontType2" in explorer.to_bytes(".pdf")


def test_characters_missing_from_matplotlibs_font_use_the_users_font(
    explore: Explore, exact: FeatureExtractor
) -> None:
    explorer = explore(extractor=exact)
    with pytest.warns(UserWarning, match="missing from font"):
        _draw_with_title(explorer)
    # Before 3.11, a figure that is made before the fonts are set shows a box instead.
    families = ("font.family", "font.sans-serif") if mpl.__version_info__ >= (3, 11) else ()
    for family in families:
        with having({family: ["STIXGeneral"]}):
            _draw_with_title(explorer)


def _draw_with_title(explorer: LayerExplorer) -> None:
    explorer.figure.axes[1].set_title("\u1d81")
    explorer.canvas.draw()


def test_settings_changed_during_a_drawing_are_kept(
    explore: Explore, exact: FeatureExtractor
) -> None:
    explorer = explore(extractor=exact)
    explorer.canvas.mpl_connect("draw_event", lambda _: plt.rc("lines", linewidth=9, marker="x"))
    with mpl.rc_context({"lines.linewidth": 5.0, "axes.grid": True}):
        explorer.canvas.draw()
        now = mpl.rcParams
        assert (now["lines.linewidth"], now["lines.marker"], now["axes.grid"]) == (9.0, "x", True)


# Everything else that is drawn -------------------------------------------------------------------


Of = Callable[[str], Any]


def comparison(of: Of) -> list[Pixels]:
    photo = of("photo")
    two = compare(photo, photo[:, ::-1] // 2, extractor=of("exact"), channel=2)
    seen = [on_canvas(two)]
    two.mode = "grid"
    seen += [on_canvas(two), png(two.to_bytes())]
    two.close()
    return seen


def animation(of: Of) -> list[Pixels]:
    return list(FigureFrames(frames(of("exact")(of("photo")), "layers", mode="grid"), 400))


def atlas(of: Of) -> list[Pixels]:
    made = ChannelAtlas(of("noisy_top"), channel=17)
    seen = [png(made.to_bytes())]
    made.close()
    return seen


def command(of: Of) -> list[Pixels]:
    patch, network = of("monkeypatch"), of("exact")
    patch.chdir(of("tmp_path"))
    patch.setattr("vgg_widget.cli.command.FeatureExtractor", lambda *_, **__: network)
    patch.setattr("vgg_widget.cli.command.check_layers", lambda *_: None)
    asked = ["--layer", "edges", "--mode", "argmax", "-o", "picture.png"]
    assert main(["render", "sample", *asked]) == 0
    return [png(Path("picture.png").read_bytes())]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["everything", "dark_background", "ggplot"])
@pytest.mark.parametrize("drawn", [comparison, animation, atlas, command])
def test_no_setting_changes_what_else_is_drawn(
    request: pytest.FixtureRequest, drawn: Callable[[Of], list[Pixels]], name: str
) -> None:
    usual = drawn(request.getfixturevalue)
    with having(SETTINGS[name]):
        changed = drawn(request.getfixturevalue)
    for number, (one, other) in enumerate(zip(changed, usual, strict=True)):
        np.testing.assert_array_equal(one, other, f"picture {number}")


# `plot` in a user's style ------------------------------------------------------------------------

UPSIDE_DOWN: Settings = {
    "image.origin": "lower",
    "image.aspect": "auto",
    "image.interpolation": "bicubic",
    "image.interpolation_stage": "rgba",
    "image.resample": False,
    "image.cmap": "gray",
}
GRID: Settings = {
    "axes.grid": True,
    "axes.grid.which": "both",
    "axes.axisbelow": False,
    "xtick.minor.visible": True,
    "ytick.minor.visible": True,
    "grid.color": "red",
    "grid.linewidth": 3,
}


def plotted(mode: str) -> list[Pixels]:
    """Return the picture, and the colorbar if there is one, without their frames."""
    random = np.random.default_rng(3)
    made = make_activations(random.random((12, 16, 6)).astype(np.float32), stride=4)
    figure = Figure(figsize=(4, 3), dpi=100)
    ax = figure.add_axes((0.1, 0.1, 0.6, 0.6), facecolor="white")
    assert plot(made, "conv", mode, ax=ax).get_aspect() == 1
    drawn = pixels_of(figure)
    inside = []
    for axes in figure.axes:
        box = axes.get_window_extent()
        top, bottom = (round(len(drawn) - edge) for edge in (box.y1, box.y0))
        inside.append(drawn[top + 3 : bottom - 3, round(box.x0) + 3 : round(box.x1) - 3])
    return inside


@pytest.mark.sampled
@pytest.mark.parametrize("mode", ["channel", "grid", "max", "rgb"])
@pytest.mark.parametrize(
    "settings",
    [UPSIDE_DOWN, GRID, *(SETTINGS[style] for style in STYLES if style != "classic")],
    ids=["upside down", "grid", *(style for style in STYLES if style != "classic")],
)
def test_a_plot_ignores_settings_of_images_and_grids(settings: Settings, mode: str) -> None:
    usual = plotted(mode)
    with having(settings):
        changed = plotted(mode)
    assert len(changed) == len(usual) == (1 if mode in ("rgb", "grid") else 2)
    for one, other in zip(changed, usual, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.sampled
@pytest.mark.parametrize("settings", [{"text.usetex": True}, {"font.family": []}])
@pytest.mark.parametrize("mode", ["channel", "grid", "rainbow", "rgb"])
@pytest.mark.parametrize("scale", [1, 1e-9])
def test_a_plot_is_drawn_without_tex_and_with_any_fonts(
    settings: Settings, mode: str, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("TeX was started")

    for name in ("make_dvi", "make_png"):
        monkeypatch.setattr(f"matplotlib.texmanager.TexManager.{name}", refused)
    maps = np.random.default_rng(3).random((12, 16, 6)).astype(np.float32) * np.float32(scale)
    made = make_activations(maps, others={"a_b$c": maps})
    with having(settings):
        for layer in made:
            figure = plt.figure()
            axes = plot(made, layer, mode, ax=figure.subplots())
            figure.canvas.draw()
            assert layer in axes.get_title()
            # Moving the colorbar's limits later would give other ticks.
            for other in figure.axes[1:]:
                other.yaxis.set_major_locator(MaxNLocator(20))
                other.minorticks_on()
            for ending in ("png", "svg", "pdf"):
                figure.savefig(io.BytesIO(), format=ending)
            plt.close(figure)


def test_an_explorer_is_saved_if_no_font_is_set(explore: Explore) -> None:
    usual = explore().to_bytes(".png")
    with having({"font.family": []}):
        assert explore().to_bytes(".png") == usual


def test_the_text_and_frame_of_a_plot_follow_the_users_settings() -> None:
    made = make_activations(np.ones((4, 4, 2), np.float32))
    with having({"axes.titlesize": 31, "axes.titlelocation": "left", "axes.edgecolor": "red"}):
        ax = plot(made, "conv", ax=Figure().subplots())
    assert ax.get_title(loc="left").startswith("conv · channel 0")
    assert ax._left_title.get_fontsize() == 31  # type: ignore[attr-defined]
    assert ax.spines["left"].get_edgecolor()[:3] == (1, 0, 0)
