"""torchvision's weights: each file and state dict gives PyTorch's numbers, or is refused."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.torch
import torch
from torch import nn

from tests.conftest import networks_apart
from tests.torch_networks import VGG16, VGG19, torch_features
from vgg_widget import Activations, FeatureExtractor, LayerExplorer, WeightsError, plot, render
from vgg_widget.layers import vgg19_kernel_shapes
from vgg_widget.weights import ResolvedWeights, resolve

pytestmark = pytest.mark.usefixtures("own_networks")

Floats = npt.NDArray[np.float32]
RGB8 = npt.NDArray[np.uint8]
State = dict[str, Any]


class VGG(nn.Module):
    """A network with the module names of a torchvision VGG, and a smaller classifier."""

    def __init__(self, columns: tuple[int, ...] = VGG19, *, norm: bool = False) -> None:
        super().__init__()
        self.features = torch_features(columns, norm=norm)
        self.classifier = nn.Sequential(nn.Linear(512, 5), nn.ReLU(), nn.Linear(5, 3))


@pytest.fixture(scope="module")
def model() -> VGG:
    torch.manual_seed(7)
    made = VGG()
    for module in made.features:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            # With zero biases, a lost bias would go unnoticed.
            nn.init.normal_(module.bias, std=0.1)  # type: ignore[arg-type]
    return made.eval()


@pytest.fixture(scope="module")
def state(model: VGG) -> State:
    return dict(model.state_dict())


@pytest.fixture(scope="module")
def from_state(state: State) -> FeatureExtractor:
    with networks_apart():
        return FeatureExtractor(state, size=None)


def by_pytorch(model: VGG, image: RGB8) -> list[Floats]:
    """Return the output of each of the 37 modules, as (H, W, C), for torchvision's input."""
    x = torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (x - mean[:, None, None]) / std[:, None, None]
    outputs = []
    with torch.no_grad():
        for module in model.features:
            x = module(x)
            outputs.append(x[0].permute(1, 2, 0).numpy())
    return outputs


def assert_close(got: npt.NDArray[Any], expected: npt.NDArray[Any]) -> None:
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= 1e-4 * np.abs(expected).max()


def assert_holds(resolved: ResolvedWeights, state: State, half: Callable[[Any], Any]) -> None:
    modules = [
        index for index, column in enumerate(torch_features(VGG19)) if hasattr(column, "weight")
    ]
    assert list(resolved.arrays) == list(vgg19_kernel_shapes())
    for index, (kernel, bias) in zip(modules, resolved.arrays.values(), strict=True):
        weight = half(state[f"features.{index}.weight"]).float().numpy()
        expected = np.einsum("oihw->hwio", weight)
        np.testing.assert_array_equal(kernel, expected)
        np.testing.assert_array_equal(bias, half(state[f"features.{index}.bias"]).float().numpy())
        assert kernel.dtype == bias.dtype == np.float32
        assert not kernel.flags.writeable
        assert not np.shares_memory(bias, state[f"features.{index}.bias"].numpy())
    assert resolved.preprocessing == "torch"


# The numbers -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(96, 96), (70, 99)])
def test_all_37_outputs_equal_pytorch(
    from_state: FeatureExtractor, model: VGG, photo: RGB8, shape: tuple[int, int]
) -> None:
    image = np.pad(photo, ((0, 32), (0, 24), (0, 0)), mode="reflect")[: shape[0], : shape[1]]
    activations = from_state(image)
    expected = by_pytorch(model, image)
    assert len(expected) == 37
    for index, output in enumerate(expected):
        assert_close(activations[f"features.{index}"], output)
    before = [i for i, module in enumerate(model.features) if isinstance(module, nn.Conv2d)]
    assert all((activations[f"features.{index}"] < 0).any() for index in before)


@pytest.fixture(scope="module")
def seen(from_state: FeatureExtractor, photo: RGB8) -> Activations:
    return from_state(photo)


@pytest.mark.sampled
@pytest.mark.parametrize("index", [10, 11, 18, 34, 35])
def test_torchvisions_names_reach_everything(
    index: int, seen: Activations, model: VGG, photo: RGB8
) -> None:
    name, maps = f"features.{index}", by_pytorch(model, photo)[index]
    assert seen.info(name).torch_name in (name, f"features.{index - 1}")
    row, column = maps.shape[0] - 1, maps.shape[1] // 2
    vector = seen.at(name, row, column)
    assert np.abs(vector - maps[row, column]).max() <= 1e-4 * np.abs(maps).max()

    statistics, top = seen.statistics(name), np.abs(maps).max()
    flat = maps.reshape(-1, maps.shape[-1]).astype(np.float64)
    for got, expected in (
        (statistics.min, flat.min(0)),
        (statistics.max, flat.max(0)),
        (statistics.mean, flat.mean(0)),
        (statistics.std, flat.std(0)),
    ):
        np.testing.assert_allclose(got, expected, atol=1e-4 * top)
    np.testing.assert_allclose(statistics.fraction_active, (flat > 0).mean(0), atol=0.02)
    # Nearly equal channels may swap places, so the test only checks that the values descend.
    in_order = flat.max(0)[seen.rank(name, "max")]
    assert (np.diff(in_order) <= 1e-4 * top).all()
    assert in_order[0] == pytest.approx(flat.max(), rel=1e-4)

    rendering = render(seen, name, channel=3, scale="layer")
    assert rendering.values is not None
    assert rendering.vmin is not None
    assert rendering.vmax is not None
    assert_close(rendering.values, maps[..., 3])
    assert name in rendering.title
    positive = np.abs(maps) if (maps < 0).any() else maps[maps > 0]
    assert rendering.vmax == pytest.approx(np.percentile(positive, 99.9), rel=1e-3)
    assert rendering.vmin == (-rendering.vmax if (maps < 0).any() else 0)


def test_plot_takes_torchvisions_names(seen: Activations, model: VGG, photo: RGB8) -> None:
    import matplotlib.pyplot as plt

    outputs = by_pytorch(model, photo)
    try:
        for index in (10, 11):
            axes = plot(seen, f"features.{index}", "mean")
            assert f"features.{index}" in axes.get_title()
            (image,) = axes.get_images()
            drawn = np.asarray(image.get_array(), np.float32)
            assert drawn.shape[:2] == outputs[index].shape[:2]
    finally:
        plt.close("all")


# Forms of state dicts ----------------------------------------------------------------------------

WRAPPED: dict[str, Callable[[State], Any]] = {
    "plain": dict,
    "data parallel": lambda state: {f"module.{key}": value for key, value in state.items()},
    "inside a model": lambda state: {
        "epoch": 3,
        **{f"model.{key}": value for key, value in state.items()},
    },
    "features alone": lambda state: {
        key.removeprefix("features."): value
        for key, value in state.items()
        if key.startswith("features.")
    },
    "state_dict": lambda state: {"epoch": 3, "optimizer": {}, "state_dict": state},
    "model_state_dict": lambda state: {"model_state_dict": state, "loss": 0.5},
    "model": lambda state: {"model": {f"module.{key}": value for key, value in state.items()}},
    "twice": lambda state: {"model": {"state_dict": state}},
}


@pytest.mark.sampled
@pytest.mark.parametrize("case", WRAPPED)
def test_common_forms_of_state_dicts(case: str, state: State) -> None:
    resolved = resolve(WRAPPED[case](state))
    assert_holds(resolved, state, lambda tensor: tensor)
    assert (resolved.provenance.source, resolved.provenance.path) == ("state_dict", None)


HELD: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "numpy": (lambda tensor: tensor.numpy(), lambda tensor: tensor),
    "parameters": (nn.Parameter, lambda tensor: tensor),
    "double": (lambda tensor: tensor.double(), lambda tensor: tensor),
    "half": (lambda tensor: tensor.half(), lambda tensor: tensor.half()),
    "bfloat16": (lambda tensor: tensor.bfloat16(), lambda tensor: tensor.bfloat16()),
    "channels last": (
        lambda tensor: tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor,
        lambda tensor: tensor,
    ),
}


@pytest.mark.sampled
@pytest.mark.parametrize("case", HELD)
def test_tensors_and_arrays_of_any_float(case: str, state: State) -> None:
    hold, rounded = HELD[case]
    assert_holds(resolve({key: hold(value) for key, value in state.items()}), state, rounded)


FILES: dict[str, tuple[str, Callable[[State, Path], Any]]] = {
    "zip": ("a.pth", torch.save),
    "checkpoint": (
        "a.PT",
        lambda state, path: torch.save({"epoch": 3, "model": {"state_dict": state}}, path),
    ),
    "before PyTorch 1.6": (
        "a.pth",
        lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False),
    ),
    "safetensors": ("a.safetensors", safetensors.torch.save_file),
}


@pytest.mark.sampled
@pytest.mark.parametrize("case", FILES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_files_in_each_format_give_the_same_weights(
    case: str, dtype: torch.dtype, state: State, scratch: Path
) -> None:
    name, save = FILES[case]
    path = scratch / name
    save({key: value.to(dtype) for key, value in state.items()}, path)
    resolved = resolve(path)
    assert_holds(resolved, state, lambda tensor: tensor.to(dtype))
    provenance = resolved.provenance
    assert (provenance.source, provenance.path) == ("file", str(path))
    assert (provenance.label, provenance.message) == (f"weights file {name}", "")
    assert provenance.digest.startswith("sha256:")


# What is refused ---------------------------------------------------------------------------------


def changed(**changes: Any) -> State:
    """Return a state dict of the right shapes, which takes hardly any memory, with changes."""
    made: State = {}
    for index, module in enumerate(torch_features(VGG19)):
        if isinstance(module, nn.Conv2d):
            for part in ("weight", "bias"):
                shape = getattr(module, part).shape
                made[f"features.{index}.{part}"] = torch.zeros(()).expand(shape)
    made |= {key.replace("__", "."): value for key, value in changes.items()}
    return {key: value for key, value in made.items() if value is not None}


def behind(prefix: str, state: State) -> State:
    return {f"{prefix}{key}": value for key, value in state.items()}


def zeros_of(model: nn.Module) -> State:
    return {key: torch.zeros(()).expand(value.shape) for key, value in model.state_dict().items()}


def itself() -> State:
    endless: State = {}
    endless["model"] = endless
    return endless


REFUSED: dict[str, tuple[Callable[[], State], tuple[str, ...]]] = {
    "vgg16": (
        lambda: zeros_of(VGG(VGG16)),
        (
            "are of a VGG16, not of a VGG19",
            "pass network='vgg16', or choose the weights of a VGG19",
        ),
    ),
    "vgg19_bn": (
        lambda: zeros_of(VGG(norm=True)),
        ("batch normalisation, not to plain VGG19", "choose the weights of a VGG19"),
    ),
    "resnet": (
        lambda: {"conv1.weight": torch.zeros(64, 3, 7, 7), "bn1.running_mean": torch.zeros(64)},
        ("layer 'features.0' (block1_conv1) is missing", "'features.0.weight'"),
    ),
    "alexnet": (
        lambda: changed(features__0__weight=torch.zeros(64, 3, 11, 11)),
        (
            "layer 'features.0' (block1_conv1) has a weight of shape (64, 3, 11, 11)",
            "(64, 3, 3, 3)",
        ),
    ),
    "two networks": (
        lambda: {**changed(), **behind("other.", changed(features__0__bias=torch.ones(64)))},
        ("holds several networks ('features', 'other.features')",),
    ),
    "nothing": (dict, ("layer 'features.0' (block1_conv1) is missing",)),
    "itself": (itself, ("layer 'features.0' (block1_conv1) is missing",)),
    "numbers as names": (lambda: {0: torch.zeros(3)}, ("'features.0'",)),  # type: ignore[dict-item]
    "no bias": (
        lambda: changed(features__5__bias=None),
        ("layer 'features.5' (block2_conv1) is missing (there is no 'features.5.bias')",),
    ),
    "wrong bias": (
        lambda: changed(features__5__bias=torch.zeros(64)),
        ("layer 'features.5' (block2_conv1) has a bias of shape (64,), but VGG19 has (128,)",),
    ),
    "whole numbers": (
        lambda: changed(features__2__weight=torch.zeros(64, 64, 3, 3, dtype=torch.int8)),
        ("layer 'features.2' (block1_conv2) has a weight that is not an array of floats",),
    ),
    "NaN": (
        lambda: changed(features__2__bias=torch.full((64,), torch.nan)),
        ("layer 'features.2' (block1_conv2) has a bias with NaN",),
    ),
    "beyond float32": (
        lambda: changed(features__2__bias=torch.full((64,), 1e300, dtype=torch.float64).numpy()),
        ("layer 'features.2' (block1_conv2) has a bias with NaN or infinite values",),
    ),
    "a text": (
        lambda: changed(features__0__weight="abc"),
        ("'features.0'", "not an array of floats"),
    ),
    "a ragged list": (
        lambda: changed(features__0__weight=[[1], [1, 2]]),
        ("not an array of floats",),
    ),
    "no data": (
        lambda: changed(features__0__weight=torch.empty((64, 3, 3, 3), device="meta")),
        ("layer 'features.0' (block1_conv1) has a weight that cannot be read",),
    ),
}


def assert_sentence(error: BaseException, *parts: str) -> None:
    message = str(error)
    assert all(part in message for part in parts), message
    assert message.endswith(".")
    assert "\n" not in message
    assert ". " not in message
    assert len(message) < 400


@pytest.mark.parametrize("case", REFUSED)
def test_other_state_dicts_are_refused_in_one_sentence(case: str) -> None:
    make, parts = REFUSED[case]
    with pytest.raises(WeightsError) as caught:
        resolve(make())
    assert_sentence(caught.value, "weights (a state dict)", *parts)


def test_a_module_is_refused_with_advice(model: VGG) -> None:
    with pytest.raises(WeightsError) as caught:
        FeatureExtractor(model)  # type: ignore[arg-type]
    assert_sentence(
        caught.value, "is neither a name nor a path", "or a state dict (model.state_dict())"
    )


class Trap:
    """The content of a malicious pickle: a call that leaves a file."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self._mark,))


def script(_: Path) -> bytes:
    """Return what PyTorch takes for a TorchScript archive, because of one member."""
    stream = io.BytesIO(saved({}))
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr("archive/constants.pkl", b"\x80\x02).")
    return stream.getvalue()


def saved(thing: Any, **how: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(thing, stream, **how)
    return stream.getvalue()


UNSAFE = "holds more than tensors, which could run code, and was not loaded"
BAD: dict[str, tuple[str, Callable[[Path], bytes], tuple[str, ...]]] = {
    "trap": ("a.pth", lambda mark: saved({"features.0.weight": Trap(mark)}), (UNSAFE,)),
    "old trap": (
        "a.pth",
        lambda mark: saved([Trap(mark)], _use_new_zipfile_serialization=False),
        (UNSAFE,),
    ),
    "trap under another name": ("a.h5", lambda mark: saved([Trap(mark)]), (UNSAFE,)),
    "whole model": ("a.pth", lambda _: saved(nn.ReLU()), (UNSAFE, "save only model.state_dict()")),
    "script": ("a.pt", script, ("is not a known kind of weights file",)),
    "list": ("a.pt", lambda _: saved([torch.zeros(2)]), ("holds a list, not a state dict",)),
    "tensor": ("a.pth", lambda _: saved(torch.zeros(2)), ("holds a Tensor, not a state dict",)),
    "half": ("a.pth", lambda _: saved(changed())[:4000], ("is cut short or damaged",)),
    "old half": (
        "a.pth",
        lambda _: saved({"a": torch.zeros(9)}, _use_new_zipfile_serialization=False)[:-9],
        ("is cut short or damaged",),
    ),
    "empty": ("a.pth", lambda _: b"", ("is empty",)),
    "page": ("a.pth", lambda _: b"<!DOCTYPE html>", ("is a web page",)),
    "vgg16": (
        "a.pth",
        lambda _: saved(zeros_of(VGG(VGG16))),
        ("are of a VGG16, not of a VGG19",),
    ),
    "empty safetensors": ("a.safetensors", lambda _: b"", ("is empty",)),
    "page as safetensors": (
        "a.safetensors",
        lambda _: b"<!DOCTYPE html>",
        ("is a web page",),
    ),
    "half a safetensors": (
        "a.safetensors",
        lambda _: safetensors.torch.save({"a": torch.zeros(99)})[:-9],
        ("is cut short or damaged",),
    ),
    "another safetensors": (
        "a.safetensors",
        lambda _: safetensors.torch.save({"a": torch.zeros(9)}),
        ("layer 'features.0' (block1_conv1) is missing",),
    ),
    "eight bits": (
        "a.safetensors",
        lambda _: safetensors.torch.save(
            {
                "features.0.weight": torch.zeros(64, 3, 3, 3).to(torch.float8_e4m3fn),
                "features.0.bias": torch.zeros(64),
            }
        ),
        ("has a weight that is not an array of floats",),
    ),
    "another preprocessing": (
        "a.safetensors",
        lambda _: safetensors.torch.save(
            {key: torch.zeros(value.shape) for key, value in changed().items()},
            {"vgg_widget.preprocessing": "inception"},
        ),
        (
            "need the preprocessing 'inception', which this version does not support",
            "newer vgg_widget",
        ),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_and_run_nothing(case: str, scratch: Path) -> None:
    name, make, parts = BAD[case]
    mark = scratch / "it ran"
    path = scratch / name
    path.write_bytes(make(mark))
    with pytest.raises(WeightsError) as caught:
        resolve(path)
    assert_sentence(caught.value, f"weights {str(path)!r}", *parts)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("a.pth", "torch", "torch"), ("a.safetensors", "safetensors", "safetensors")],
)
def test_a_missing_package_is_named(
    name: str, package: str, extra: str, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = scratch / name
    path.write_bytes(saved({}) if package == "torch" else safetensors.torch.save({}))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(WeightsError) as caught:
        resolve(path)
    assert_sentence(caught.value, f"run `pip install 'vgg-widget[{extra}]'`")


# Networks, states and text -----------------------------------------------------------------------


def test_the_same_state_dict_shares_a_network(state: State) -> None:
    first = FeatureExtractor(state)
    copied = {f"module.{key}": value.clone() for key, value in state.items()}
    assert FeatureExtractor(copied, size=64).model is first.model
    copied["module.features.34.bias"][0] += 1
    assert FeatureExtractor(copied, size=64).model is not first.model


@pytest.fixture
def explorers() -> Iterator[list[LayerExplorer]]:
    made: list[LayerExplorer] = []
    yield made
    for explorer in made:
        explorer.close()


def test_an_explorer_of_a_file_has_state_and_code(
    state: State,
    photo: RGB8,
    scratch: Path,
    explorers: list[LayerExplorer],
) -> None:
    path = scratch / "mine.safetensors"
    safetensors.torch.save_file(state, path)
    explorer = LayerExplorer(photo, weights=path, size=None, layer="block2_pool")
    explorers.append(explorer)
    kept = explorer.state()
    assert kept["weights"] == str(path)
    again = LayerExplorer.from_state(photo, kept)
    explorers.append(again)
    np.testing.assert_array_equal(
        again.activations["features.9"], explorer.activations["features.9"]
    )
    assert f"FeatureExtractor({str(path)!r}, size=None)" in explorer.to_code()
    assert "mine.safetensors" in explorer.activations.weights.label


def test_an_explorer_of_a_state_dict_has_no_code(
    state: State, photo: RGB8, explorers: list[LayerExplorer]
) -> None:
    explorer = LayerExplorer(photo, weights=state, size=None)
    explorers.append(explorer)
    with pytest.raises(
        ValueError, match=r"state dict .*which cannot be written as code: .*save a state dict to"
    ):
        explorer.to_code()
    kept = explorer.state()
    with pytest.raises(
        ValueError, match=r"from a state dict, which it cannot contain: pass weights="
    ):
        LayerExplorer.from_state(photo, kept)
    again = LayerExplorer.from_state(photo, kept, weights=state)
    explorers.append(again)
    assert again.extractor.model is explorer.extractor.model
    with pytest.raises(ValueError, match="weights of type dict and extractor were both given"):
        LayerExplorer(photo, weights=state, extractor=explorer.extractor)
    with pytest.raises(ValueError, match="weights of type dict and model were both given"):
        FeatureExtractor(state, model=explorer.extractor.model)
