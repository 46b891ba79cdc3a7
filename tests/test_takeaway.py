"""Code, states, files and animations of an explorer, which make the same picture elsewhere."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from traitlets import TraitError

from tests.explorers import filled, on_canvas
from vgg_widget import FeatureExtractor, LayerExplorer, render
from vgg_widget.explorer.base import LOOKS
from vgg_widget.explorer.settings import SETTINGS
from vgg_widget.figure.animation import FigureFrames, frames

Explore = Callable[..., LayerExplorer]

# Code ---------------------------------------------------------------------------------------------

CHOSEN: dict[str, dict[str, Any]] = {
    "channel": {"channel": 7},
    "channel before ReLU": {"channel": 7, "before_relu": True},
    "channel of a torchvision name": {"layer": "features.12", "channel": 3},
    "percentile and gamma": {
        "channel": 2,
        "percentile": np.float64(80.5),
        "gamma": np.float32(0.5),
    },
    "scale channel": {"channel": 2, "scale": "channel", "cmap": "magma"},
    "scale network, before ReLU": {"scale": "network", "before_relu": True, "gamma": 2.0},
    "grid": {"mode": "grid"},
    "grid ordered": {"mode": "grid", "order": "entropy", "scale": "channel"},
    "grid without dead channels": {"mode": "grid", "layer": "block5_pool", "hide_dead": True},
    "grid at a location": {"mode": "grid", "order": "location", "location": np.array([3, 4])},
    "grid of some, before ReLU": {"mode": "grid", "channels": (9, 2, 30), "before_relu": True},
    "max": {"mode": "max", "location": (2, 2), "overlay": 0.5},
    "mean": {"mode": "mean", "percentile": 50.0},
    "argmax": {"mode": "argmax"},
    "argmax of some": {"mode": "argmax", "channels": (3, 1, 200), "order": "max"},
    "composite": {"mode": "composite", "channels": np.arange(4), "cmap": "plasma"},
    "composite, before ReLU": {"mode": "composite", "before_relu": True},
    "rgb": {"mode": "rgb", "channels": (5, 6, 7), "gamma": 0.7},
    "rainbow": {"mode": "rainbow", "scale": "channel"},
}


@pytest.mark.slow
def test_the_code_of_every_mode_makes_the_same_picture_in_a_fresh_process(
    explore: Explore, tmp_path: Path
) -> None:
    explorer = explore(layer="block3_conv1")
    Image.fromarray(explorer.image).save(tmp_path / "photo.png")
    first = {name: getattr(explorer, name) for name in SETTINGS}
    expected = {}
    for number, chosen in enumerate(CHOSEN.values()):
        explorer.choose(**{**first, **chosen})
        assert explorer.rendering is not None
        expected[number] = explorer.rendering
        script = filled(explorer.to_code(), "image", tmp_path / "photo.png")
        (tmp_path / f"{number}.py").write_text(script, encoding="utf-8")
    program = (
        "import matplotlib, pathlib, numpy, runpy, sys\n"
        "matplotlib.use('agg')\n"
        "from matplotlib import pyplot\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).glob('*.py')):\n"
        "    made = runpy.run_path(str(path))\n"
        "    assert made['axes'].images\n"
        "    numpy.save(path.with_suffix('.npy'), made['rendering'].rgba)\n"
        "    path.with_suffix('.txt').write_text(made['rendering'].title, encoding='utf-8')\n"
        "    pyplot.close('all')\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    for number, name in enumerate(CHOSEN):
        picture = expected[number]
        np.testing.assert_array_equal(
            np.load(tmp_path / f"{number}.npy"), picture.rgba, err_msg=name
        )
        assert (tmp_path / f"{number}.txt").read_text(encoding="utf-8") == picture.title
    # Otherwise a script could pass with another's picture.
    assert len({picture.rgba.tobytes() for picture in expected.values()}) == len(CHOSEN)


def test_the_code_says_no_more_than_the_picture_needs(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", location=(2, 2), overlay=0.5, hide_dead=True)
    lines = explorer.to_code().splitlines()
    assert "picture = dict(mode='channel', channel=0, cmap='magma', scale='auto')" in lines
    assert not any("Scale" in line for line in lines)
    explorer.gamma = np.float64(0.5)
    assert "scale=Scale(scope='auto', percentile=99.5, gamma=0.5)" in explorer.to_code()
    explorer.choose(scale="layer", gamma=None)
    assert "cmap='magma', scale='layer')" in explorer.to_code()
    explorer.gamma = 0.5
    assert "scale=Scale(scope='layer', percentile=99.9, gamma=0.5)" in explorer.to_code()
    explorer.mode = "argmax"
    assert "picture = dict(mode='argmax')" in explorer.to_code()


def test_a_custom_model_has_no_code(explore: Explore, photo: Any) -> None:
    import keras

    inputs = keras.Input((64, 75, 3))
    inner = keras.Sequential([keras.layers.AveragePooling2D(2, name="pool-1")], name="base")
    outputs = inner(inputs)
    own = FeatureExtractor(model=keras.Model(inputs, outputs))
    explorer = explore(extractor=own)
    with pytest.raises(ValueError, match=r"your own.*cannot be written as code"):
        explorer.to_code()
    assert explorer.layer == "base/pool-1"
    assert explorer.file_name(".png") == "base_pool_1-channel0.png"
    state = json.loads(json.dumps(explorer.state()))
    again = LayerExplorer.from_state(photo, state, extractor=own)
    assert again.state() == explorer.state()
    again.close()
    with pytest.raises(ValueError, match=r"pass model=\.\.\. or extractor=\.\.\. as well"):
        LayerExplorer.from_state(photo, state)


# State --------------------------------------------------------------------------------------------

STATES: list[dict[str, Any]] = [
    {"location": np.array([2, 3]), "overlay": np.float64(0.25)},
    {"percentile": 97.5, "gamma": 0.5, "scale": "network"},
    {"mode": "grid", "order": "location", "location": (4, 5), "hide_dead": True},
    {"mode": "grid", "order": "std", "channels": (4, 2)},
    # Colormaps other than the default one before ReLU.
    {"before_relu": True, "cmap": "viridis"},
    {"before_relu": True, "cmap": "RdBu_r"},
    {"layer": "features.10", "cmap": "gray"},
    {"layer": "features.11"},
    {"theme": "dark", "panel": "Display", "layer_names": "both"},
    {"mode": "rainbow", "channels": (1, 2, 3, 4), "channel": 200},
]


@pytest.mark.sampled
@pytest.mark.parametrize("chosen", STATES)
def test_a_state_goes_through_json_and_makes_the_same_explorer(
    explore: Explore, chosen: dict[str, Any]
) -> None:
    explorer = explore(**{"layer": "block3_conv1", **chosen})
    text = json.dumps(explorer.state(), allow_nan=False)
    again = LayerExplorer.from_state(explorer.image, json.loads(text), extractor=explorer.extractor)
    assert again.state() == explorer.state()
    for name in (*SETTINGS, *LOOKS):
        assert getattr(again, name) == getattr(explorer, name), name
    assert again.rendering is not None
    assert explorer.rendering is not None
    np.testing.assert_array_equal(again.rendering.rgba, explorer.rendering.rgba)
    np.testing.assert_array_equal(on_canvas(again), on_canvas(explorer))
    again.close()


def test_the_colormap_that_the_toggle_chose_is_in_the_state(explore: Explore) -> None:
    explorer = explore(layer="block3_conv1", cmap="magma")
    explorer.before_relu = True
    again = LayerExplorer.from_state(explorer.image, explorer.state(), extractor=explorer.extractor)
    assert (again.before_relu, again.cmap) == (True, "coolwarm")
    again.close()


def test_a_state_without_later_settings_is_read(explore: Explore, photo: Any) -> None:
    old = {
        "version": 1,
        "layer": "block2_conv2",
        "channel": 3,
        "channels": [1, 5],
        "mode": "rainbow",
        "cmap": "magma",
        "scale": "channel",
        "layer_names": "keras",
        "size": None,
        "weights": "random",
    }
    explorer = LayerExplorer.from_state(photo, json.loads(json.dumps(old)))
    try:
        assert {name: explorer.state()[name] for name in old} == old
        assert (explorer.location, explorer.percentile, explorer.gamma) == (None, None, None)
        assert explorer.rendering is not None
        assert explorer.rendering.gamma == 1.0  # the default of the scale "channel"
        assert (explorer.overlay, explorer.before_relu, explorer.order) == (0.0, False, "index")
    finally:
        explorer.close()


def test_arguments_override_those_of_a_state(explore: Explore, photo: Any) -> None:
    state = explore(layer="block3_conv1", location=(3, 3), gamma=0.5).state()
    again = LayerExplorer.from_state(photo, state, gamma=2.0, location=None, width="500px")
    assert (again.gamma, again.location, again.layer) == (2.0, None, "block3_conv1")
    assert again.layout.width == "500px"
    again.close()


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"location": [999, 0]}, "location (999, 0) is outside"),
        ({"overlay": 7}, "overlay 7.0 is not an opacity"),
        ({"panel": "Panel"}, "panel 'Panel' is not known"),
        ({"order": "location"}, "set location first"),
    ],
)
def test_a_state_that_was_tampered_with_is_refused_in_a_sentence(
    explore: Explore, photo: Any, changes: dict[str, Any], said: str
) -> None:
    explorer = explore(layer="block3_conv1")
    state = {**explorer.state(), **changes}
    with pytest.raises(TraitError, match=re.escape(said)):
        LayerExplorer.from_state(photo, state, extractor=explorer.extractor)


# Files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "starts"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")]
)
def test_bytes_have_the_format_of_the_suffix(
    explore: Explore, tmp_path: Path, suffix: str, starts: bytes
) -> None:
    explorer = explore(layer="block3_conv1", mode="argmax")
    before = on_canvas(explorer)
    assert explorer.to_bytes(suffix).startswith(starts)
    explorer.save(tmp_path / f"a{suffix.upper()}")
    assert (tmp_path / f"a{suffix.upper()}").read_bytes().startswith(starts)
    np.testing.assert_array_equal(on_canvas(explorer), before)


def test_bytes_of_an_unknown_kind_are_refused(explore: Explore) -> None:
    explorer = explore()
    for bad in (".jpg", "png", "", ".npz"):
        with pytest.raises(ValueError, match=r"choose \.png, \.svg or \.pdf"):
            explorer.to_bytes(bad)


def test_file_names_are_names_of_files(explore: Explore) -> None:
    explorer = explore(layer="features.10", channel=12)
    assert explorer.file_name(".png") == "features.10-channel12.png"
    explorer.mode = "grid"
    assert explorer.file_name(".pdf") == "features.10-grid.pdf"
    # The file has all layers, whichever is displayed.
    assert explorer.file_name(".npz").endswith("activations.npz")


def test_a_closed_explorer_saves_nothing(explore: Explore, tmp_path: Path) -> None:
    explorer = explore()
    explorer.close()
    actions: list[Callable[[], object]] = [
        explorer.to_bytes,
        explorer.to_gif,
        lambda: explorer.save(tmp_path / "a.png"),
        lambda: explorer.save_animation(tmp_path / "a.gif"),
    ]
    for action in actions:
        with pytest.raises(RuntimeError, match="explorer is closed: make a new LayerExplorer"):
            action()
    assert list(tmp_path.iterdir()) == []


# Animations ---------------------------------------------------------------------------------------


def pictures_of(gif: bytes) -> list[Any]:
    with Image.open(io.BytesIO(gif)) as image:
        found = []
        for number in range(image.n_frames):  # type: ignore[attr-defined]
            image.seek(number)
            found.append(np.asarray(image.convert("RGB")).astype(int))
        return found


@pytest.fixture
def small(explore: Explore, photo: Any) -> LayerExplorer:
    """Explore a model of two layers with few channels, three and five: animations are quick."""
    import keras

    inputs = keras.Input((64, 75, 3))
    pooled = keras.layers.AveragePooling2D(4, name="pooled")(inputs)
    mixed = keras.layers.Conv2D(5, 3, padding="same", activation="relu", name="mixed")
    outputs = mixed(pooled)
    generator = np.random.default_rng(6)
    mixed.set_weights([generator.normal(size=weights.shape) for weights in mixed.get_weights()])
    own = FeatureExtractor(model=keras.Model(inputs, outputs))
    return explore(extractor=own, layer="mixed")


def drawn(explorer: LayerExplorer, layer: str, mode: str, **options: Any) -> Any:
    """Return the expected frame, drawn alone."""
    walk = frames(explorer.activations, "layers", layers=[layer], mode=mode, **options)
    return FigureFrames(walk)[0].astype(int)


def close_to(frame: Any, picture: Any) -> bool:
    """Return whether both are equal, except for a palette of 256 colours."""
    return bool(np.abs(frame - picture).mean() < 6)


@pytest.mark.slow
def test_a_walk_through_channels_is_the_explorers_pictures(small: LayerExplorer) -> None:
    small.choose(channel=3, gamma=0.5, cmap="magma", scale="network")
    found = pictures_of(small.to_gif("channels", 0.1))
    assert len(found) == 5
    for channel in range(5):
        options = {"cmap": "magma", "scale": small.settings.full_scale}
        expected = drawn(small, "mixed", "channel", channel=channel, **options)
        others = drawn(small, "mixed", "channel", channel=(channel + 1) % 5, **options)
        assert close_to(found[channel], expected)
        assert np.abs(found[channel] - expected).sum() < np.abs(found[channel] - others).sum()
    assert small.channel == 3


@pytest.mark.sampled
@pytest.mark.parametrize(
    "mode", ["channel", "grid", "max", "mean", "argmax", "composite", "rgb", "rainbow"]
)
def test_a_walk_through_layers_is_in_every_mode(small: LayerExplorer, mode: str) -> None:
    small.choose(mode=mode, channel=4)
    found = pictures_of(small.to_gif("layers", 0.5))
    assert len(found) == 2
    for frame, layer in zip(found, ("pooled", "mixed"), strict=True):
        assert close_to(frame, drawn(small, layer, mode, channel=4))
    small.channel = 0
    if mode != "channel":
        with pytest.raises(ValueError, match=f"mode '{mode}' shows several channels at once"):
            small.to_gif("channels")


def test_a_grid_in_the_order_of_a_location_walks_by_index(small: LayerExplorer) -> None:
    small.choose(mode="grid", location=(15, 17), order="location", hide_dead=True)
    assert len(pictures_of(small.to_gif("layers"))) == 2
    assert small.order == "location"


def test_a_walk_through_layers_stays_before_the_relu(explore: Explore) -> None:
    explorer = explore(layer="block1_conv1", before_relu=True)
    walk = explorer._walk("layers").frames
    names = [step["layer"] for step in walk.steps]
    assert names[:4] == ["features.0", "features.2", "block1_pool", "features.5"]
    assert len(names) == 21
    expected = render(explorer.activations, "features.2", cmap="coolwarm")
    np.testing.assert_array_equal(walk[1].rgba, expected.rgba)


def test_an_animation_is_saved_whole_or_not_at_all(small: LayerExplorer, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    path = tmp_path / "walk.gif"
    small.save_animation(path, "channels", 0.05, progress=lambda *step: calls.append(step))
    assert calls == [(n, 5) for n in range(1, 6)]
    data = path.read_bytes()
    with Image.open(path) as image:
        assert (image.info["duration"], image.info["loop"]) == (50, 0)
    before, screen = small.state(), on_canvas(small)

    def fail(done: int, total: int) -> None:
        raise ZeroDivisionError("on purpose")

    attempts: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (ZeroDivisionError, "on purpose", lambda: small.save_animation(path, progress=fail)),
        (ValueError, "did you mean 'layers'", lambda: small.save_animation(path, "layer")),
        (ValueError, r"does not end in \.gif", lambda: small.save_animation(tmp_path / "a.png")),
        (
            ValueError,
            "seconds 0 is not a frame duration",
            lambda: small.save_animation(path, seconds=0),
        ),
        (ValueError, "seconds nan", lambda: small.to_gif(seconds=float("nan"))),
        (
            FileNotFoundError,
            "make the folder first",
            lambda: small.save_animation(tmp_path / "none" / "a.gif"),
        ),
    ]
    for error, said, attempt in attempts:
        with pytest.raises(error, match=said):
            attempt()
    assert [found.name for found in tmp_path.iterdir()] == ["walk.gif"]
    assert path.read_bytes() == data
    assert small.state() == before
    np.testing.assert_array_equal(on_canvas(small), screen)


def test_a_state_with_the_former_name_of_predictions(explore: Explore) -> None:
    explorer = explore()
    state = {**explorer.state(), "top": 5}
    with closing(
        LayerExplorer.from_state(explorer.image, state, extractor=explorer.extractor, top=None)
    ) as again:
        assert "predict" not in again.state()
    with pytest.raises(ValueError, match="predictions need the classifier of a VGG19"):
        LayerExplorer.from_state(explorer.image, state, extractor=explorer.extractor)
