"""Tests of the explorer without a browser: traits, controls, links, saving and closing."""

from __future__ import annotations

import ast
import base64
import gc
import io
import json
import re
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import numpy.typing as npt
import pytest
import traitlets
from ipywidgets.widgets.widget import _instances
from matplotlib import pyplot as plt
from PIL import Image

import vgg_widget.pictures.modes
from tests.explorers import above_foot, below, channel_number, control, filled, words
from vgg_widget import (
    Activations,
    FeatureExtractor,
    ImageError,
    LayerExplorer,
    register_mode,
    render,
    sample_image,
)

Pixels = npt.NDArray[np.uint8]
Make = Callable[..., LayerExplorer]


@pytest.fixture(scope="module")
def extractor() -> FeatureExtractor:
    return FeatureExtractor("random", size=64)


@pytest.fixture
def picture() -> Pixels:
    rows, columns = np.mgrid[0:70, 0:90]
    return np.stack([rows * 3, columns * 2, (rows + columns) % 256], axis=-1).astype(np.uint8)


@pytest.fixture
def make(extractor: FeatureExtractor, picture: Pixels) -> Iterator[Make]:
    made: list[LayerExplorer] = []
    before = set(_instances)

    def build(image: object = None, **arguments: Any) -> LayerExplorer:
        image = picture if image is None else image
        # The defaults of these depend on the picture, which other tests cover.
        usual = {"extractor": extractor, "layer": "block1_conv1", "channel": 0}
        arguments = {**usual, **arguments}
        made.append(LayerExplorer(image, **arguments))
        return made[-1]

    yield build
    for explorer in made:
        explorer.close()
    assert set(_instances) == before, "widgets leaked"
    assert plt.get_fignums() == [], "a figure leaked into pyplot"


def drawn(explorer: LayerExplorer) -> Pixels:
    return np.array(explorer.canvas.get_renderer().buffer_rgba())


def count_draws(explorer: LayerExplorer) -> list[object]:
    """Return a list that collects each picture that is ready for the page, complete or partial."""
    draws: list[object] = []
    manager = explorer.canvas.manager
    manager.refresh_all = lambda: draws.append(drawn(explorer))
    return draws


def test_the_explorer_is_complete_when_the_constructor_returns(
    make: Make, extractor: FeatureExtractor, picture: Pixels
) -> None:
    explorer = make()
    expected = extractor(picture)
    assert isinstance(explorer, widgets.VBox)
    assert isinstance(explorer.activations, Activations)
    assert list(explorer.activations) == [info.name for info in extractor.layers]
    for name in ("block1_conv1", "block3_pool", "block5_conv4"):
        assert np.array_equal(explorer.activations[name], expected[name])
    assert explorer.extractor is extractor
    assert np.array_equal(explorer.image, picture)
    assert explorer.figure.canvas is explorer.canvas
    by_hand = render(expected, "block1_conv1", "channel", channel=0, cmap="magma", scale="auto")
    assert explorer.rendering is not None
    assert np.array_equal(explorer.rendering.rgba, by_hand.rgba)
    assert (drawn(explorer)[..., :3] != 255).any()


@pytest.mark.parametrize(
    ("trait", "description", "value"),
    [
        ("layer", "layer", "block3_conv2"),
        ("mode", "mode", "max"),
        ("cmap", "colors", "viridis"),
        ("scale", "range", "network"),
        ("channel", "channel", 17),
    ],
)
def test_a_trait_moves_its_control_and_a_control_its_trait_and_each_redraws_once(
    make: Make, trait: str, description: str, value: Any
) -> None:
    explorer = make(panel="Display")
    draws = count_draws(explorer)
    before, first = getattr(explorer, trait), drawn(explorer)
    setattr(explorer, trait, value)
    assert control(explorer, description).value == value
    assert len(draws) == 1
    assert not np.array_equal(drawn(explorer), first)
    control(explorer, description).value = before
    assert getattr(explorer, trait) == before
    assert len(draws) == 2
    assert np.array_equal(drawn(explorer), first)


def test_the_channel_box_and_slider_are_one_choice(make: Make) -> None:
    explorer = make()
    box = channel_number(explorer)
    box.value = 21
    assert explorer.channel == control(explorer, "channel").value == 21


def test_channels_are_typed_as_numbers_and_ranges(make: Make) -> None:
    explorer = make(mode="composite")
    field = control(explorer, "channels")
    field.value = "3, 5-7 12"
    assert explorer.channels == (3, 5, 6, 7, 12)
    explorer.channels = np.array([1, 2])
    assert field.value == "1, 2"
    field.value = "1, x"
    assert list(explorer.channels) == [1, 2]
    # The text stays in the field so that it can be corrected.
    assert field.value == "1, x"
    assert "&#x27;x&#x27; is not a number or range" in words(explorer)
    field.value = ""
    assert explorer.channels == ()
    assert "not a number or range" not in words(explorer)


def test_a_layer_with_fewer_channels_keeps_the_channel_if_possible(make: Make) -> None:
    explorer = make(layer="block5_conv1", channel=40)
    draws = count_draws(explorer)
    explorer.layer = "block1_conv1"
    assert explorer.channel == 40
    explorer.layer = "block5_conv1"
    explorer.channel = 500
    draws.clear()
    explorer.layer = "block2_conv1"
    assert explorer.channel == 127
    assert control(explorer, "channel").max == 127
    assert len(draws) == 1
    assert explorer.rendering is not None
    assert explorer.rendering.channels == (127,)


def test_several_traits_at_once_redraw_once(make: Make) -> None:
    explorer = make()
    draws = count_draws(explorer)
    with explorer.hold_trait_notifications():
        explorer.channel = 300
        explorer.layer = "block4_conv1"
        explorer.cmap = "plasma"
    assert len(draws) == 1
    assert explorer.rendering is not None
    assert (explorer.rendering.layer, explorer.rendering.channels) == ("block4_conv1", (300,))


def test_traits_can_be_observed_and_linked(make: Make) -> None:
    first, second = make(), make(layer="block2_conv1")
    seen: list[Any] = []
    first.observe(lambda change: seen.append(change["new"]), "layer")
    first.observe(lambda change: seen.append(change["new"].title), "rendering")
    link = traitlets.link((first, "layer"), (second, "layer"))
    second.layer = "block4_pool"
    assert first.layer == "block4_pool"
    assert "block4_pool" in seen
    assert "block4_pool · channel 0" in seen
    link.unlink()
    second.layer = "block1_conv2"
    assert first.layer == "block4_pool"


def test_a_zoom_stays_on_the_same_part_of_the_image(make: Make) -> None:
    explorer = make()
    shown, beside = explorer.figure.axes[1], explorer.figure.axes[0]
    shown.set(xlim=(10, 40), ylim=(50, 20))
    explorer.layer = "block4_conv1"
    explorer.mode = "max"
    for axes in (shown, beside):
        assert axes.get_xlim() == (10, 40)
        assert axes.get_ylim() == (50, 20)
    explorer.mode = "grid"
    assert shown.get_xlim() != (10, 40)
    explorer.mode = "mean"
    assert shown.get_xlim() == (10, 40)
    explorer.canvas.toolbar.home()
    # 70 × 90 pixels with the shorter side scaled to 64.
    assert shown.get_xlim() == (-0.5, 81.5)
    assert shown.get_ylim() == (63.5, -0.5)


BAD = [
    ("layer", "block1_conv9", "did you mean 'block1_conv"),
    ("layer", 3, "of type int, not a name"),
    ("mode", "compsite", "did you mean 'composite'"),
    ("cmap", "virdis", "did you mean 'viridis'"),
    ("scale", "layers", "did you mean 'layer'"),
    ("channel", 64, "choose whole numbers from 0 to 63"),
    ("channel", -1, "choose whole numbers from 0 to 63"),
    ("channel", 1.5, "int"),
    ("channels", (1, 64), "choose whole numbers from 0 to 63"),
    ("channels", "1,2", "channel numbers"),
    ("channels", 5, "channel numbers"),
]


@pytest.mark.sampled
@pytest.mark.parametrize(("trait", "value", "advice"), BAD)
def test_a_bad_value_is_refused_and_the_picture_stays(
    make: Make, trait: str, value: Any, advice: str
) -> None:
    explorer = make()
    before, picture = getattr(explorer, trait), drawn(explorer)
    with pytest.raises(traitlets.TraitError, match=re.escape(advice)) as caught:
        setattr(explorer, trait, value)
    assert trait in str(caught.value)
    assert getattr(explorer, trait) == before
    assert np.array_equal(drawn(explorer), picture)
    explorer.channel = 5
    assert not np.array_equal(drawn(explorer), picture)


@pytest.mark.parametrize(("trait", "value", "advice"), BAD[2:8])
def test_a_bad_argument_makes_no_explorer(
    make: Make, extractor: FeatureExtractor, trait: str, value: Any, advice: str
) -> None:
    alive = set(_instances)
    with pytest.raises(traitlets.TraitError, match=re.escape(advice)):
        make(**{trait: value})
    assert set(_instances) == alive


@pytest.mark.slow
def test_an_unknown_argument_names_the_nearest(make: Make) -> None:
    with pytest.raises(TypeError, match=r"argument 'chanel' is not known: did you mean 'channel'"):
        make(chanel=3)
    assert make(width="600px").layout.width == "600px"


@pytest.mark.parametrize(
    "bad",
    [
        "no/such/picture.png",
        b"not a picture",
        b"",
        np.zeros((20, 200, 3), np.uint8),
        np.full((40, 40), np.nan),
        None,
    ],
)
def test_a_bad_picture_leaves_the_one_on_show(make: Make, bad: object) -> None:
    explorer = make(layer="block2_conv1")
    activations, picture, caption = explorer.activations, drawn(explorer), words(explorer)
    with pytest.raises(ImageError):
        explorer.image = bad
    assert explorer.activations is activations
    assert np.array_equal(drawn(explorer), picture)
    assert words(explorer) == caption
    assert not control(explorer, "layer").disabled
    explorer.channel = 9
    assert not np.array_equal(drawn(explorer), picture)


def test_another_picture_is_computed_at_once(
    make: Make, extractor: FeatureExtractor, picture: Pixels
) -> None:
    explorer = make(layer="block2_conv2", channel=7)
    other = np.ascontiguousarray(picture[::-1, :80])
    draws = count_draws(explorer)
    explorer.image = other
    assert np.array_equal(explorer.activations["block2_conv2"], extractor(other)["block2_conv2"])
    assert np.array_equal(explorer.image, other)
    assert (explorer.layer, explorer.channel) == ("block2_conv2", 7)
    assert explorer.rendering is not None
    assert np.array_equal(
        explorer.rendering.rgba, render(extractor(other), "block2_conv2", channel=7).rgba
    )
    assert len(draws) == 1


def test_an_uploaded_picture_is_shown_and_a_bad_one_reported(make: Make, picture: Pixels) -> None:
    explorer = make()
    upload = next(w for w in below(explorer) if isinstance(w, widgets.FileUpload))
    with io.BytesIO() as png:
        Image.fromarray(picture[:, ::-1]).save(png, "png")
        content = png.getvalue()
    states: list[tuple[bool, str]] = []
    control(explorer, "layer").observe(
        lambda change: states.append((change["new"], words(explorer))), "disabled"
    )
    file = {"name": "x.png", "type": "image/png", "size": 1, "last_modified": datetime.now(tz=UTC)}
    upload.value = ({**file, "content": memoryview(content)},)
    assert np.array_equal(explorer.image, picture[:, ::-1])
    # During the computation, the page says so and the controls are disabled.
    assert states[0][0] is True
    assert "Computing" in states[0][1]
    assert states[-1][0] is False
    assert "Computing" not in words(explorer)
    upload.value = ({**file, "content": memoryview(b"<script>alert(1)</script>")},)
    assert np.array_equal(explorer.image, picture[:, ::-1])
    assert "readable image format" in words(explorer)
    explorer.channel = 3
    assert "readable image format" not in words(explorer)


def test_the_caption_says_what_is_shown_and_where_it_comes_from(make: Make) -> None:
    explorer = make(layer="block3_conv1", channel=5, scale="network", panel="Display")
    channel = explorer.activations["block3_conv1"][..., 5]
    text = words(explorer)
    for expected in (
        "block3_conv1",
        "16 × 20 × 256",
        "channel 5",
        f"mean {channel.mean():.3g}",
        f"max {channel.max():.3g}",
        f"{(channel > 0).mean():.0%} active",
        "random weights",
        "mode channel",
        f"one range for the network, 0 to {explorer.activations.top(None, 99.9):.3g}",
    ):
        assert expected in text


def test_a_float_picture_says_how_it_was_read(make: Make) -> None:
    assert "read as 0–1" in words(make(np.linspace(0, 1, 40 * 50).reshape(40, 50)))


def test_a_custom_mode_appears_and_one_that_fails_changes_nothing(make: Make) -> None:
    try:

        @register_mode("spread over channels")
        def spread(maps: Any, _: Any) -> Any:
            return maps.max(axis=-1) - maps.min(axis=-1)

        @register_mode("broken")
        def broken(maps: Any, _: Any) -> Any:
            raise ZeroDivisionError("on purpose")

        explorer = make(layer="block1_conv2")
        choice = control(explorer, "mode")
        choice.value = "spread over channels"
        maps = explorer.activations["block1_conv2"]
        assert explorer.rendering is not None
        assert explorer.rendering.values is not None
        assert np.array_equal(explorer.rendering.values, maps.max(-1) - maps.min(-1))
        picture = drawn(explorer)
        with pytest.raises(ZeroDivisionError):
            explorer.mode = "broken"
        assert explorer.mode == choice.value == "spread over channels"
        choice.value = "broken"
        assert explorer.mode == choice.value == "spread over channels"
        assert "on purpose" in words(explorer)
        assert np.array_equal(drawn(explorer), picture)
    finally:
        for name in ("spread over channels", "broken"):
            vgg_widget.pictures.MODES.pop(name, None)


def test_rgb_takes_three_channels(make: Make) -> None:
    explorer = make(mode="composite", channels=(4, 8, 15, 16))
    explorer.mode = "rgb"
    assert explorer.channels == (4, 8, 15)
    with pytest.raises(traitlets.TraitError, match="exactly 3"):
        explorer.channels = (1, 2)
    assert explorer.channels == (4, 8, 15)


def test_explorers_share_one_network_and_are_independent(picture: Pixels, make: Make) -> None:
    first = make(extractor=None, weights="random", size=64)
    second = make(extractor=None, weights="random", size=96)
    assert first.extractor.model is second.extractor.model
    first.layer = "block4_conv1"
    assert second.layer == "block1_conv1"
    assert second.activations["block1_conv1"].shape[0] == 96


def test_state_goes_through_json_and_makes_the_same_picture(make: Make, picture: Pixels) -> None:
    explorer = make(layer="block2_conv2", mode="rainbow", channels=(1, 5), scale="channel")
    state = json.loads(json.dumps(explorer.state()))
    again = LayerExplorer.from_state(picture, state)
    try:
        assert again.state() == explorer.state()
        assert np.array_equal(drawn(again), drawn(explorer))
    finally:
        again.close()
    bads: list[Any] = [{}, {"version": 99}, [], None]
    for bad in bads:
        with pytest.raises(ValueError, match="state"):
            LayerExplorer.from_state(picture, bad)


@pytest.mark.slow
def test_the_code_makes_the_same_picture_in_a_fresh_process(
    make: Make, picture: Pixels, tmp_path: Path
) -> None:
    explorer = make(layer="block2_conv1", mode="composite", channels=(3, 9), cmap="magma")
    code = tmp_path / "picture.py"
    rgba = tmp_path / "rgba.npy"
    # The code has a placeholder for a picture made in memory, which is filled in here.
    Image.fromarray(picture).save(tmp_path / "cat.png")
    script = filled(explorer.to_code(), "image", tmp_path / "cat.png")
    code.write_text(
        f"import matplotlib\nmatplotlib.use('agg')\n{script}\n"
        f"import numpy\nnumpy.save({str(rgba)!r}, rendering.rgba)\n",
        encoding="utf-8",
    )
    subprocess.run([sys.executable, "-W", "ignore", str(code)], check=True, capture_output=True)
    assert explorer.rendering is not None
    assert np.array_equal(np.load(rgba), explorer.rendering.rgba)


def test_code_names_files_and_the_sample(make: Make, picture: Pixels, tmp_path: Path) -> None:
    path = tmp_path / "my cat's.png"
    Image.fromarray(picture).save(path)
    assert f"load_image({str(path)!r})" in make(path).to_code()
    assert "image = sample_image()" in make(sample_image()).to_code()


def test_code_never_holds_a_picture(make: Make, picture: Pixels) -> None:
    with io.BytesIO() as png:
        Image.fromarray(picture).save(png, "png")
        content = png.getvalue()
    explorer = make()
    upload = next(w for w in below(explorer) if isinstance(w, widgets.FileUpload))
    file = {"type": "image/png", "size": 1, "last_modified": datetime.now(tz=UTC)}
    named = {**file, "name": "my 'cat'.png", "content": memoryview(content)}
    upload.value = (named,)
    code = explorer.to_code()
    (line,) = (line for line in code.splitlines() if line.startswith("image = "))
    assert ast.literal_eval(line.removeprefix("image = ")) == "my 'cat'.png"
    assert "# not read from a path: save this file beside your script" in line
    assert explorer.file_name(".npz") == "my _cat_-activations.npz"
    sources = [picture, Image.fromarray(picture), content, io.BytesIO(content), (named,)]
    for source in sources:
        explorer.image = source
        code = explorer.to_code()
        ast.parse(code)
        assert "base64" not in code
        assert max(map(len, code.splitlines())) < 200
        assert ("image = ...  # made in memory: put the image here" in code) == (
            source is not sources[-1]
        )


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf", "npz"])
def test_save_writes_the_shown_picture(make: Make, tmp_path: Path, suffix: str) -> None:
    explorer = make(layer="block3_conv1", mode="max")
    before = drawn(explorer)
    path = tmp_path / f"picture.{suffix}"
    explorer.save(path)
    data = path.read_bytes()
    if suffix == "npz":
        assert np.array_equal(
            Activations.load(path)["block3_conv1"], explorer.activations["block3_conv1"]
        )
    elif suffix == "png":
        saved = np.array(Image.open(path).convert("RGB"))
        # The file has the same picture and a line at the bottom that names its source.
        foot, height = above_foot(explorer), len(before)
        assert np.array_equal(saved[:foot], before[:foot, :, :3])
        assert len(saved) > height
        assert (saved[height:] != 255).any()
    else:
        assert data.startswith({"svg": b"<?xml", "pdf": b"%PDF"}[suffix])
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert np.array_equal(drawn(explorer), before)


def test_save_refuses_what_it_cannot_write(make: Make, tmp_path: Path) -> None:
    explorer = make()
    with pytest.raises(ValueError, match=r"choose \.png, \.svg or \.pdf"):
        explorer.save(tmp_path / "picture.jpeg")
    with pytest.raises(ValueError, match=r"picture' has no suffix: choose \.png, \.svg or \.pdf"):
        explorer.save(tmp_path / "picture")
    with pytest.raises(FileNotFoundError, match="make the folder first"):
        explorer.save(tmp_path / "none" / "picture.png")
    assert list(tmp_path.iterdir()) == []


def test_a_saved_notebook_holds_the_picture(make: Make) -> None:
    explorer = make(layer="block2_conv1")
    bundle = explorer._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    picture = np.array(Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))))
    foot = above_foot(explorer)
    assert np.array_equal(picture[:foot, :, :3], drawn(explorer)[:foot, :, :3])


def test_closing_releases_everything(extractor: FeatureExtractor, picture: Pixels) -> None:
    before = set(_instances)
    explorer = LayerExplorer(picture, extractor=extractor)
    held: list[weakref.ref[Any]] = [
        weakref.ref(explorer),
        weakref.ref(explorer.activations),
        weakref.ref(explorer.figure),
    ]
    assert len(set(_instances) - before) > 10
    explorer.close()
    explorer.close()
    assert set(_instances) == before
    with pytest.raises(RuntimeError, match="closed"):
        explorer.image = picture
    del explorer
    gc.collect()
    assert all(reference() is None for reference in held)


def test_arguments_that_contradict_each_other(make: Make, extractor: FeatureExtractor) -> None:
    with pytest.raises(ValueError, match="leave weights out"):
        make(weights="random")
    with pytest.raises(ValueError, match="leave size out"):
        make(size=128)
    with pytest.raises(TypeError, match="FeatureExtractor"):
        make(extractor="vgg19")


def test_names_are_never_markup(make: Make, picture: Pixels, tmp_path: Path) -> None:
    try:

        @register_mode("<script>alert(1)</script>")
        def largest(maps: Any, _: Any) -> Any:
            return maps.max(axis=-1)

        text = words(make(mode="<script>alert(1)</script>"))
        assert "<script>" not in text
        assert "&lt;script&gt;" in text
    finally:
        vgg_widget.pictures.MODES.pop("<script>alert(1)</script>", None)


def test_an_observer_of_the_picture_may_change_a_trait(make: Make, picture: Pixels) -> None:
    explorer = make()

    def strongest(change: Any) -> None:
        explorer.channel = change["new"].rank(explorer.layer)[0]

    def fifth(change: Any) -> None:
        explorer.channel = 5

    explorer.observe(strongest, "activations")
    explorer.image = picture[:, ::-1]
    winner = int(explorer.activations.statistics("block1_conv1").max.argmax())
    assert explorer.rendering is not None
    assert explorer.channel == control(explorer, "channel").value == winner
    assert explorer.rendering.channels == (winner,)
    explorer.unobserve(strongest, "activations")
    explorer.observe(fifth, "rendering")
    explorer.layer = "block2_conv1"
    assert (explorer.layer, explorer.channel) == ("block2_conv1", 5)
    assert (explorer.rendering.layer, explorer.rendering.channels) == ("block2_conv1", (5,))
    assert "block2_conv1 · channel 5" in explorer.figure.axes[1].get_title()


def test_an_observer_that_fails_leaves_the_old_picture(make: Make, picture: Pixels) -> None:
    explorer = make()
    activations, before = explorer.activations, drawn(explorer)

    def fail(change: Any) -> None:
        if change["new"] is not activations:
            raise ZeroDivisionError("on purpose")

    explorer.observe(fail, "activations")
    with pytest.raises(ZeroDivisionError):
        explorer.image = picture[:, ::-1]
    assert np.array_equal(explorer.image, picture)
    assert explorer.activations is activations
    assert np.array_equal(drawn(explorer), before)
    assert not control(explorer, "layer").disabled


def test_a_closed_explorer_says_so(make: Make) -> None:
    explorer = make()
    explorer.close()
    with pytest.raises(RuntimeError, match="closed"):
        explorer.layer = "block2_conv1"
    with pytest.raises(RuntimeError, match="closed"):
        explorer.set_trait("channel", 3)


def test_the_message_of_the_pointer_is_cleared_with_its_picture(make: Make) -> None:
    explorer = make()
    axes, canvas = explorer.figure.axes[1], explorer.canvas
    x, y = axes.transData.transform((20, 30))
    mouse = {"x": x, "y": canvas.get_renderer().height - y, "button": 0, "buttons": 0}
    canvas._handle_message(canvas, {"type": "motion_notify", "modifiers": [], **mouse}, [])
    assert "row 30, column 20" in canvas._message
    explorer.channel = 1
    assert canvas._message == ""


def options_of(explorer: LayerExplorer) -> list[str]:
    return [str(label) for label, _ in control(explorer, "layer").options]


def values_shown(explorer: LayerExplorer) -> npt.NDArray[np.float32]:
    assert explorer.rendering is not None
    assert explorer.rendering.values is not None
    return explorer.rendering.values


def test_layers_are_listed_by_torchvisions_names_too(make: Make) -> None:
    explorer = make(layer_names="torchvision")
    names = [option.split()[1] for option in options_of(explorer)]
    assert names == [f"features.{number}" for number in range(37)]
    assert control(explorer, "layer").value == "features.1"
    control(explorer, "layer").value = "features.11"
    assert explorer.layer == "features.11"
    expected = explorer.activations["block3_conv1"][..., explorer.channel]
    assert np.array_equal(values_shown(explorer), expected)
    control(explorer, "layer").value = "features.10"
    before = values_shown(explorer)
    assert before.min() < 0
    assert np.array_equal(np.maximum(before, 0), expected)

    calls: list[str] = []
    draws = count_draws(explorer)
    explorer.observe(lambda change: calls.append(change["new"]), "layer")
    explorer.layer = "block2_conv1"
    # The trait keeps the name that was set, although the control lists another one.
    assert (explorer.layer, calls, len(draws)) == ("block2_conv1", ["block2_conv1"], 1)
    assert control(explorer, "layer").value == "features.6"
    assert explorer.state()["layer_names"] == "torchvision"
    again = LayerExplorer.from_state(explorer.image, explorer.state(), extractor=explorer.extractor)
    assert (again.layer_names, again.layer) == ("torchvision", "block2_conv1")
    again.close()
    explorer.layer = "features.10"

    explorer.layer_names = "both"
    assert len(options_of(explorer)) == 37
    assert any("features.10 before ReLU · block3_conv1" in label for label in options_of(explorer))
    assert control(explorer, "layer").value == "features.10"
    control(explorer, "layer").value = "block3_conv1"
    assert explorer.layer == "block3_conv1"


def test_a_layer_name_that_is_not_listed_can_be_set(make: Make) -> None:
    explorer = make()
    assert len(options_of(explorer)) == 21
    explorer.layer = "features.11"
    assert control(explorer, "layer").value == "block3_conv1"
    explorer.layer = "features.10"
    assert (control(explorer, "layer").value, explorer.before_relu) == ("block3_conv1", True)
    explorer.layer = "block1_pool"
    assert len(options_of(explorer)) == 21
    with pytest.raises(traitlets.TraitError, match="layer_names"):
        explorer.layer_names = "pytorch"
    assert explorer.layer_names == "keras"
