"""`register_mode`: accepted functions and results, channels and ranges, errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.conftest import make_activations
from tests.test_modes import BUILT_IN, colours, strongest
from vgg_widget import Activations, register_mode, render, telling_channels
from vgg_widget.figure.color_bars import color_norm
from vgg_widget.pictures.captions import source_line
from vgg_widget.pictures.comparing import Pair, render_pair
from vgg_widget.pictures.coordinates import words_for_unit
from vgg_widget.pictures.modes import MODES, ModeRequest, Picture
from vgg_widget.pictures.scaling import DisplayRange, Scale
from vgg_widget.support.messages import plain_range

Floats = npt.NDArray[np.float32]


@pytest.fixture
def registry() -> Iterator[None]:
    """Remove the modes that a test registers."""
    before = dict(MODES)
    yield
    MODES.clear()
    MODES.update(before)


def test_the_built_in_modes_in_their_order() -> None:
    assert list(MODES) == BUILT_IN


@pytest.mark.usefixtures("registry")
def test_a_mode_in_three_lines(activations: Activations) -> None:
    @register_mode("spread")
    def over_channels(maps: Floats, _: ModeRequest) -> Floats:
        spread: Floats = maps.max(axis=-1) - maps.min(axis=-1)
        return spread

    maps = activations["block2_conv1"]
    made = render(activations, "block2_conv1", "spread", scale="channel", cmap="gray")
    expected = maps.max(axis=-1) - maps.min(axis=-1)
    np.testing.assert_array_equal(made.values, expected)
    np.testing.assert_array_equal(made.rgba, colours(expected / expected.max(), "gray"))
    assert made.title == "block2_conv1 · spread"
    assert made.mode == "spread"
    with pytest.raises(ValueError, match=r"mode 'spred' .*did you mean 'spread'"):
        render(activations, "block2_conv1", "spred")
    assert list(MODES) == [*BUILT_IN, "spread"]


@pytest.mark.usefixtures("registry")
def test_a_mode_gets_the_channels_that_it_takes(activations: Activations) -> None:
    seen: list[ModeRequest] = []

    def first(maps: Floats, request: ModeRequest) -> Floats:
        assert maps.dtype == np.float32
        assert maps.shape[-1] == len(request.channels)
        assert request.layer == "block2_conv1"
        seen.append(request)
        return maps[..., 0]

    register_mode("all of them", takes="all")(first)
    register_mode("one", takes="one")(first)
    register_mode("some", takes="some", phrase="of {channels}: {count}")(first)
    register_mode("two", takes="some", count=2)(first)
    assert render(activations, "block2_conv1", "one", channels=(9,)).channels == (9,)
    with pytest.raises(ValueError, match=r"has 2 numbers, but mode 'one' shows one channel"):
        render(activations, "block2_conv1", "one", channels=(4, 7))
    seen.clear()
    for mode in ("all of them", "one", "some", "two"):
        render(activations, "block2_conv1", mode, channel=9)
    best = tuple(telling_channels(activations, "block2_conv1", 6).tolist())
    assert [request.channels for request in seen] == [tuple(range(128)), (9,), best, best[:2]]
    strong = strongest(activations, "block2_conv1", 6)
    assert render(activations, "block2_conv1", "some", channels="strongest").channels == strong
    assert render(activations, "block2_conv1", "two", channels="strongest").channels == strong[:2]
    named = render(activations, "block2_conv1", "some", channels=(4, 7))
    assert named.title == "block2_conv1 · of 4, 7: 2"
    with pytest.raises(ValueError, match=r"'two' takes exactly 2"):
        render(activations, "block2_conv1", "two", channels=(1, 2, 3))


@pytest.mark.usefixtures("registry")
def test_a_mode_cannot_change_the_activations(activations: Activations) -> None:
    @register_mode("vandal")
    def vandal(maps: Floats, _: ModeRequest) -> Floats:
        maps[:] = 0
        return maps[..., 0]

    kept = activations["block5_pool"].copy()
    for channels in (None, (0, 1)):
        with pytest.raises(ValueError, match="read-only"):
            render(activations, "block5_pool", "vandal", channels=channels)
    np.testing.assert_array_equal(activations["block5_pool"], kept)


@pytest.mark.usefixtures("registry")
def test_a_mode_may_return_colours_or_a_picture() -> None:
    made = make_activations(np.random.default_rng(0).random((4, 5, 3)).astype(np.float32))
    results: dict[str, Callable[[Floats], Any]] = {
        "float": lambda maps: maps,
        "bytes": lambda maps: np.rint(maps * 255).astype(np.uint8),
        "rgba": lambda maps: np.dstack([maps, np.full(maps.shape[:2], 0.5)]),
        "picture": lambda maps: Picture(values=maps[..., 0], range=DisplayRange(0.25, 0.5)),
        "whole numbers": lambda maps: (maps[..., 0] * 10).astype(int),
    }
    for name, result in results.items():
        register_mode(name)(lambda maps, _, result=result: result(maps))  # type: ignore[misc]
    expected = 255 * made["conv"]
    for name in ("float", "bytes", "rgba"):
        rgba = render(made, "conv", name).rgba
        assert np.abs(rgba[..., :3] - expected).max() <= 0.51
        assert (rgba[..., 3] == (128 if name == "rgba" else 255)).all()
    picture = render(made, "conv", "picture", cmap="gray")
    assert (picture.vmin, picture.vmax) == (0.25, 0.5)
    assert picture.clipped == (True, True)
    unit = np.clip((made["conv"][..., 0] - 0.25) / 0.25, 0, 1)
    assert np.abs(picture.rgba[..., 0] - 255 * unit).max() <= 2.01
    numbers = render(made, "conv", "whole numbers")
    assert numbers.values is not None
    assert numbers.values.dtype == np.float32


@pytest.mark.usefixtures("registry")
def test_a_mode_says_what_its_values_are_and_over_which_range_they_are_shown() -> None:
    @register_mode("weakest", uses_scale=False, range_words="a colour for each channel")
    def weakest(maps: Floats, _: ModeRequest) -> Picture:
        numbers = maps.argmin(axis=-1).astype(np.float32)
        return Picture(numbers, rgba=np.zeros((*numbers.shape, 4), np.uint8), values_are="channel")

    maps = np.array([[[3, 1, 2], [0, 5, 4]]], np.float32)
    made = make_activations(maps)
    picture = render(made, "conv", "weakest")
    assert picture.values_are == render(made, "conv", "argmax").values_are == "channel"
    assert words_for_unit(picture, 0, 0, None) == "row 0, column 0: channel 1"
    assert source_line(made, picture).endswith("mode weakest · a colour for each channel")
    other = render_pair(Pair.of(made, make_activations(maps[..., ::-1])), "conv", "weakest")
    assert other.difference.values_are == "mismatch"
    np.testing.assert_array_equal(other.difference.values, [[0, 1]])


# Both signs with unequal ends, only positive, only negative, far from 0, both signs symmetric.
RANGES = [(-1.0, 3.0, 2.0), (0.0, 4.0, 1.0), (-4.0, -1.0, 0.5), (2.0, 5.0, 0.5), (-2.0, 2.0, 1.0)]


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(("low", "high", "gamma"), RANGES)
@pytest.mark.parametrize("scale", ["auto", "channel"])
def test_a_modes_own_range_is_drawn_as_its_colorbar_shows(
    low: float, high: float, gamma: float, scale: str
) -> None:
    @register_mode("own", takes="one")
    def own(maps: Floats, _: ModeRequest) -> Picture:
        return Picture(maps[..., 0], range=DisplayRange(low, high, gamma))

    values = np.linspace(low, high, 64, dtype=np.float32).reshape(8, 8, 1)
    made = make_activations(values)
    picture = render(made, "conv", "own", scale=scale, cmap="gray")
    assert (picture.vmin, picture.vmax, picture.gamma) == (low, high, gamma)
    share = (values[..., 0] - low) / (high - low)
    if low < 0:
        share = (np.sign(2 * share - 1) * np.abs(2 * share - 1) ** gamma + 1) / 2
    else:
        share = share**gamma
    np.testing.assert_allclose(picture.rgba[..., 0], 255 * share, atol=2)
    np.testing.assert_allclose(color_norm(picture)(values[..., 0]), share, atol=1e-5)
    gamma_words = f" · gamma {gamma:g}" if gamma != 1 else ""
    extent = f"the mode's own range, {plain_range(low, high)}{gamma_words}"
    assert source_line(made, picture).endswith(f"mode own · {extent}")


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("scale", ["auto", "layer", Scale("channel", 50, 3.0)])
def test_a_mode_without_scale_ignores_percentile_and_gamma(scale: Any) -> None:
    register_mode("plain", takes="one", uses_scale=False)(lambda maps, _: maps[..., 0])
    values = np.linspace(0, 5, 64, dtype=np.float32).reshape(8, 8, 1)
    picture = render(make_activations(values), "conv", "plain", scale=scale, cmap="gray")
    np.testing.assert_allclose(picture.rgba[..., 0], 51 * values[..., 0], atol=1.5)
    assert (picture.gamma, picture.clipped) == (1, (False, False))


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    "ends",
    [(0, np.inf), (-1e308, 1e308), (np.nan, np.nan), (5, 1), (0, 1, 0), (0, 1, -1), (0, 1, np.nan)],
)
def test_an_invalid_range_is_refused(ends: tuple[float, ...]) -> None:
    register_mode("own")(lambda maps, _: Picture(maps[..., 0], range=DisplayRange(*ends)))
    made = make_activations(np.ones((4, 5, 3), np.float32))
    with pytest.raises(ValueError, match=r"mode 'own' returned .* range .*: give finite numbers"):
        render(made, "conv", "own")


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("shape", [(), (4,), (4, 5, 2), (4, 5, 5), (1, 4, 5, 3)])
def test_a_mode_that_returns_a_wrong_shape_is_named(shape: tuple[int, ...]) -> None:
    register_mode("broken")(lambda *_: np.zeros(shape))
    made = make_activations(np.ones((4, 5, 3), np.float32))
    with pytest.raises(ValueError, match=r"mode 'broken' returned .*: return \(h, w\) values"):
        render(made, "conv", "broken")


@pytest.mark.usefixtures("registry")
def test_an_empty_picture_is_named() -> None:
    register_mode("nothing")(lambda *_: Picture())
    made = make_activations(np.ones((4, 5, 3), np.float32))
    with pytest.raises(ValueError, match=r"mode 'nothing' returned .*neither values nor rgba"):
        render(made, "conv", "nothing")


@pytest.mark.usefixtures("registry")
def test_names_that_cannot_be_registered() -> None:
    for name in BUILT_IN:
        with pytest.raises(ValueError, match=rf"name '{name}' is a built-in mode"):
            register_mode(name)
    for nameless in ("", "  ", None, 3):
        with pytest.raises(ValueError, match=r"name .* cannot name a mode"):
            register_mode(nameless)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"takes 'many'.*'all', 'some'"):
        register_mode("x", takes="many")  # type: ignore[arg-type]
    assert list(MODES) == BUILT_IN


@pytest.mark.usefixtures("registry")
def test_a_registered_mode_can_be_replaced() -> None:
    made = make_activations(np.ones((4, 5, 3), np.float32))
    register_mode("mine")(lambda maps, _: maps[..., 0])
    register_mode("mine")(lambda maps, _: maps[..., 0] * 2)
    values = render(made, "conv", "mine").values
    assert values is not None
    assert (values == 2).all()


@pytest.mark.usefixtures("registry")
def test_other_braces_in_a_phrase_are_kept() -> None:
    register_mode("set", phrase="{x} of {count} {")(lambda maps, _: maps[..., 0])
    made = make_activations(np.ones((4, 5, 3), np.float32))
    assert render(made, "conv", "set").title == "conv · {x} of 3 {"
