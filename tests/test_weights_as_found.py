"""Weights files of users: with any prefix, in any container, under any file name."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import re
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.torch_networks import VGG16, VGG19, torch_features
from tests.weights_server import SHAPES
from vgg_widget import FeatureExtractor, LayerExplorer, WeightsError
from vgg_widget.predictions import predictor_for
from vgg_widget.weights import embedded_path, resolve, resolve_classifier

pytestmark = pytest.mark.usefixtures("own_networks")

State = dict[str, Any]

VGG13 = (64, 64, 0, 128, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0)
HALF = tuple(width // 2 for width in VGG19)


def numbered(columns: tuple[int, ...] = VGG19, start: float = 0, *, norm: bool = False) -> State:
    """Return a state dict by module number; tensors encode their place, and take no memory."""
    state: State = {}
    with torch.device("meta"):
        modules = torch_features(columns, norm=norm)
    for place, (key, value) in enumerate(modules.state_dict().items()):
        channels = torch.arange(len(value) if value.ndim else 1) + start + 1000 * place
        shape = (-1, *[1] * max(0, value.ndim - 1))
        state[key] = channels.float().reshape(shape).expand(value.shape if value.ndim else (1,))
    return state


STATE = numbered()
OTHER = numbered(start=0.5)


def behind(prefix: str, state: State = STATE) -> State:
    return {f"{prefix}{key}": value for key, value in state.items()}


def assert_taken(weights: Any, state: State = STATE) -> str:
    """Assert that weights have the numbers of a state dict, and return their message."""
    resolved = resolve(weights)
    parts = iter(state.values())
    for kernel, bias in resolved.arrays.values():
        np.testing.assert_array_equal(kernel, np.einsum("oihw->hwio", next(parts).numpy()))
        np.testing.assert_array_equal(bias, next(parts).numpy())
    assert list(resolved.arrays) == list(SHAPES)
    assert resolved.preprocessing == "torch"
    return resolved.provenance.message


def refused(weights: Any, error: type[Exception] = WeightsError, **more: Any) -> str:
    """Return the message, of one sentence, with which weights are refused."""
    with pytest.raises(error) as caught:
        FeatureExtractor(weights, **more)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert not re.search(r"\. [A-Z]", sentence), sentence
    assert len(sentence) < 450
    return sentence


# --- prefixes


@pytest.mark.sampled
@pytest.mark.parametrize(
    "prefix",
    [
        "features.module.",
        "module.features.",
        "module.",
        "backbone.",
        "vgg.",
        "encoder.module.",
        "",
        "_orig_mod.features.",
        "loss.perceptual.0.",
        "net_",
        "é h.",
    ],
)
def test_the_layers_are_found_behind_any_prefix(prefix: str) -> None:
    # Other entries of a network that VGG19 is a part of.
    more = {"head.0.weight": torch.zeros(10, 512), "conv1.weight": torch.zeros(64, 3, 7, 7)}
    assert assert_taken({**more, **behind(prefix)}) == ""


@pytest.mark.slow
@settings(max_examples=15)
@given(st.lists(st.text(min_size=1), max_size=3))
def test_any_prefix_at_all(parts: list[str]) -> None:
    prefix = "".join(f"{part}." for part in parts)
    assert_taken(behind(prefix))


@pytest.mark.parametrize("prefix", ["features.", "encoder.module.", ""])
@pytest.mark.parametrize(
    ("state", "words"),
    [
        (
            numbered(VGG16),
            ("a VGG16, not of a VGG19", "pass network='vgg16'"),
        ),
        (
            numbered(VGG13),
            ("10 convolutions", "'features.14' (block3_conv3)", "'{prefix}14.weight'"),
        ),
        (numbered(VGG19, norm=True), ("batch normalisation", "plain VGG19")),
        (numbered(VGG16, norm=True), ("batch normalisation", "plain VGG19")),
        (
            numbered(HALF),
            ("'features.0' (block1_conv1) has a weight of shape (32, 3, 3, 3)", "(64, 3, 3, 3)"),
        ),
        (
            {key: value for key, value in STATE.items() if key != "28.bias"},
            ("'features.28' (block5_conv1) is missing (there is no '{prefix}28.bias')",),
        ),
        (
            {**STATE, "34.weight": torch.zeros(512, 512, 1, 1)},
            ("'features.34' (block5_conv4) has a weight of shape (512, 512, 1, 1)",),
        ),
    ],
    ids=["VGG16", "VGG13", "VGG19-BN", "VGG16-BN", "half", "no bias", "1×1"],
)
def test_the_nearest_network_or_first_mismatch_is_named(
    state: State, words: tuple[str, ...], prefix: str
) -> None:
    sentence = refused({"epoch": 3, **behind(prefix, state)})
    for part in words:
        assert part.format(prefix=prefix) in sentence, sentence


def test_several_networks_are_named_and_none_is_guessed() -> None:
    sentence = refused({**behind("content.", STATE), **behind("style.features.", OTHER)})
    assert "several networks ('content', 'style.features'): pass the state dict of one" in sentence
    assert "('best', 'last')" in refused({"best": STATE, "last": OTHER})


# --- wrappers


@pytest.mark.sampled
@pytest.mark.parametrize(
    "key",
    ["net", "network", "params", "weights", "model_state", "generator", "G", "ema", "teacher"],
)
def test_a_state_dict_is_found_under_any_key(key: str) -> None:
    checkpoint = {"epoch": 3, "optimizer": {"state": {0: {"step": 1}}}, key: behind("features.")}
    assert assert_taken(checkpoint) == ""


CONTAINERS = st.sampled_from(
    [
        lambda inner: {"net": inner, "epoch": 3},
        lambda inner: {0: {}, 1: inner},
        lambda inner: [inner],
        lambda inner: [{"lr": 0.1}, inner],
        lambda inner: ({"features.0.weight": torch.zeros(3)}, inner),
        lambda inner: {"a": {"0.weight": None}, "b c": [inner, 7]},
    ]
)


@pytest.mark.slow
@settings(max_examples=15)
@given(st.lists(CONTAINERS, max_size=2), st.sampled_from(["", "features.", "module.vgg."]))
def test_any_containers_a_few_levels_deep(wraps: list[Callable[[Any], Any]], prefix: str) -> None:
    thing: Any = behind(prefix)
    for wrap in wraps:
        thing = wrap(thing)
    assert assert_taken({"checkpoint": thing}) == ""


@pytest.mark.parametrize(
    ("one", "other"), [("params", "params_ema"), ("student", "teacher"), ("model", "grads")]
)
def test_a_network_beside_its_moving_average_is_refused(
    one: str, other: str, tmp_path: Path
) -> None:
    checkpoint = {one: behind("vgg.", STATE), other: behind("vgg.", OTHER)}
    torch.save(checkpoint, tmp_path / "a.pth")
    for weights in (checkpoint, tmp_path / "a.pth"):
        sentence = refused(weights)
        assert f"('{one}.vgg', '{other}.vgg'): pass the state dict of one" in sentence
    assert assert_taken(checkpoint[one]) == ""


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: (7, [{"a": inner}])])
def test_a_list_is_taken_in_memory_as_from_a_file(wrap: Any, tmp_path: Path) -> None:
    torch.save(wrap(STATE), tmp_path / "a.pth")
    for weights in (wrap(STATE), tmp_path / "a.pth"):
        assert_taken(weights)
    assert FeatureExtractor(wrap(STATE), size=32).weights.source == "state_dict"
    assert "neither a name nor a path" in refused([1, 2])


def papers(state: State) -> State:
    """Rename the tensors as in Simonyan & Zisserman's Caffe models."""
    names = [
        f"conv{b}_{n}" for b, count in enumerate((2, 2, 4, 4, 4), 1) for n in range(1, count + 1)
    ]
    parts = [f"{name}.{part}" for name in names for part in ("weight", "bias")]
    return dict(zip(parts, state.values(), strict=True))


def test_under_other_names_the_first_layer_is_missing(tmp_path: Path) -> None:
    pruned = {f"{key}_{end}": value for key, value in STATE.items() for end in ("orig", "mask")}
    for state in (papers(STATE), behind("features.", pruned)):
        torch.save(state, tmp_path / "a.pth")
        for weights in (state, tmp_path / "a.pth"):
            sentence = refused(weights)
            assert "'features.0' (block1_conv1) is missing (there is no 'features.0" in sentence


# --- suffixes


def keras_h5(path: Path) -> None:
    """Write a small Keras file of VGG19, whose kernels are all 2 and whose biases are all 3."""
    with h5py.File(path, "w") as file:
        for name, shape in SHAPES.items():
            file.create_dataset(f"{name}/{name}/kernel:0", shape, "f4", fillvalue=2)
            file.create_dataset(f"{name}/{name}/bias:0", shape[-1:], "f4", fillvalue=3)


def keras_archive(path: Path) -> None:
    inner = path.with_name("inner")
    keras_h5(inner)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.write(inner, "model.weights.h5")


def in_torchs_order() -> State:
    shapes = {key: value.shape for key, value in STATE.items()}
    return {
        f"features.{key}": torch.full(shape, 2.0 + key.endswith("bias"))
        for key, shape in shapes.items()
    }


WRITERS: dict[str, Callable[[Path], Any]] = {
    "Keras HDF5": keras_h5,
    "Keras archive": keras_archive,
    "PyTorch": lambda path: torch.save({"net": in_torchs_order()}, path),
    "PyTorch before 1.6": lambda path: torch.save(
        in_torchs_order(), path, _use_new_zipfile_serialization=False
    ),
    "safetensors": lambda path: safetensors.torch.save_file(in_torchs_order(), path),
}


@pytest.fixture(scope="module", params=WRITERS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("written")
    WRITERS[request.param](folder / "file")
    yield folder / "file"
    shutil.rmtree(folder)


@pytest.mark.sampled
@pytest.mark.parametrize(
    "name",
    [
        *("a.pth.tar", "a.ckpt", "a.bin", "a.pkl", "a", "a.h5", "a.weights.h5", "a.keras", "a.pth"),
        *("a.PT", "a.safetensors", "a.npz", "a.model", "a.tar.gz", "a.7"),
    ],
)
def test_a_file_is_recognised_by_its_content(name: str, written: Path) -> None:
    path = written.with_name(name)
    written.rename(path)
    try:
        resolved = resolve(path)
        for kernel, bias in resolved.arrays.values():
            assert (kernel == 2).all()
            assert (bias == 3).all()
        assert list(resolved.arrays) == list(SHAPES)
        assert resolved.provenance.label == f"weights file {name}"
    finally:
        path.rename(written)


@pytest.mark.sampled
@pytest.mark.parametrize("name", ["a.pth", "a", "a.h5", "a.zip"])
def test_learned_filters_are_recognised_by_their_content(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    shutil.copy(embedded_path(), path)
    found, shipped = resolve(path), resolve("kmeans")
    np.testing.assert_array_equal(
        found.arrays["block2_conv1"][0], shipped.arrays["block2_conv1"][0]
    )
    assert found.provenance.digest == shipped.provenance.digest
    with pytest.raises(ValueError, match="classifier of a VGG19, which is not known for k-means"):
        predictor_for(FeatureExtractor(path))


@pytest.mark.parametrize("name", ["a.pkl", "a.h5", "a", "a.safetensors", "a.npz", "a.ckpt"])
def test_nothing_is_executed_under_any_file_name(name: str, tmp_path: Path) -> None:
    mark = tmp_path / "it ran"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (mark,))

    path = tmp_path / name
    for write in (
        lambda: torch.save({"net": Trap()}, path),
        lambda: torch.save([Trap()], path, _use_new_zipfile_serialization=False),
        lambda: path.write_bytes(pickle.dumps({"net": Trap()})),
        lambda: path.write_bytes(pickle.dumps({"net": Trap()}, protocol=0)),
    ):
        write()
        assert "which could run code, and was not loaded" in refused(path)
    assert not mark.exists()


# --- classifiers


def dense(start: float = 0) -> State:
    shapes = {"0": (24, 25088), "3": (16, 24), "6": (5, 16)}
    state = {}
    for key, (outgoing, incoming) in shapes.items():
        rows = torch.arange(outgoing).float() + start
        state[f"{key}.weight"] = rows[:, None].expand(outgoing, incoming)
        state[f"{key}.bias"] = -rows
    return state


CLASSIFIED: dict[str, Callable[[], Any]] = {
    "plain": lambda: {**behind("features."), **behind("classifier.", dense())},
    "parallel features": lambda: {**behind("features.module."), **behind("classifier.", dense())},
    "parallel": lambda: {
        "net": {**behind("module.features."), **behind("module.classifier.", dense())}
    },
    "other names": lambda: [{**behind("backbone."), **behind("head.", dense())}],
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", ["a.pth", "a.ckpt", "a"])
@pytest.mark.parametrize("case", CLASSIFIED)
def test_the_classifier_is_found_with_its_convolutions(
    case: str, name: str, tmp_path: Path
) -> None:
    torch.save(CLASSIFIED[case](), tmp_path / name)
    classifier, _ = resolve_classifier(resolve(tmp_path / name).provenance)
    wanted = dense()
    for key, (kernel, bias) in zip("036", classifier.layers, strict=True):
        np.testing.assert_array_equal(kernel.T, wanted[f"{key}.weight"].numpy())
        np.testing.assert_array_equal(bias, wanted[f"{key}.bias"].numpy())
    assert classifier.channels_first


def test_several_classifiers_are_named(tmp_path: Path) -> None:
    heads = {**behind("head_a.", dense()), **behind("head_b.", dense(1))}
    torch.save({**behind("features."), **heads}, tmp_path / "a.pth")
    with pytest.raises(
        WeightsError, match=r"a\.pth' holds several classifiers \('head_a', 'head_b"
    ):
        resolve_classifier(resolve(tmp_path / "a.pth").provenance)


# --- files of other kinds


def packed(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("vgg19.pth"))


def numpys(save: Callable[..., None], *arrays: Any, **named: Any) -> Callable[[Path], Any]:
    stream = io.BytesIO()
    save(stream, *arrays, **named)
    return lambda path: path.write_bytes(stream.getvalue())


def zipped(path: Path, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)


def scripted(path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Sequential(nn.Conv2d(3, 3, 3))), path)


def traced(path: Path) -> None:
    whole: Any = torch.jit.trace(nn.Conv2d(3, 3, 3), torch.zeros(1, 3, 9, 9))  # type: ignore[no-untyped-call]
    torch.jit.save(whole, path)


OTHER_KINDS: dict[str, tuple[Callable[[Path], Any], tuple[str, ...]]] = {
    "empty": (Path.touch, ("is empty", "download or save it again")),
    "LFS": (
        lambda path: path.write_bytes(
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 574673361\n"
        ),
        ("a Git LFS pointer", "`git lfs pull`"),
    ),
    "HTML": (
        lambda path: path.write_bytes(b"\n <!DOCTYPE html><title>Google Drive</title>"),
        ("is a web page", "download the file itself"),
    ),
    "HTML with a mark": (
        lambda path: path.write_bytes(b"\xef\xbb\xbf<html>"),
        ("is a web page",),
    ),
    "XML": (
        lambda path: path.write_bytes(b'<?xml version="1.0"?><Error>AccessDenied</Error>'),
        ("is a web page",),
    ),
    "npy": (
        numpys(np.save, np.zeros((3, 3, 3, 64))),
        ("is not a known kind of weights file", "choose one of Keras", "unpack"),
    ),
    "npz": (
        numpys(np.savez, conv1_1=np.zeros(3)),
        ("is not a known kind of weights file", "choose one of Keras", "unpack"),
    ),
    "pickle": (
        lambda path: path.write_bytes(pickle.dumps({"0.weight": np.zeros(3)})),
        ("is a Python pickle", "torch.save"),
    ),
    "pickle of Python 2": (
        lambda path: path.write_bytes(pickle.dumps({"0.weight": [1.0]}, protocol=0)),
        ("is a Python pickle", "torch.save"),
    ),
    # ir_version 8, then the producer's name.
    "ONNX": (
        lambda path: path.write_bytes(b"\x08\x08\x12\x07pytorch\x1a\x052.4.0:\xff\x01"),
        ("is not a known kind of weights file", "choose one of Keras", "unpack"),
    ),
    "TFLite": (
        lambda path: path.write_bytes(b"\x1c\0\0\0TFL3\x14\0\x20\0"),
        ("is not a known kind of weights file", "choose one of Keras", "unpack"),
    ),
    "TorchScript": (
        scripted,
        ("is not a known kind of weights file", "choose one of Keras", "unpack"),
    ),
    "traced TorchScript": (
        traced,
        ("is not a known kind of weights file", "choose one of Keras", "unpack"),
    ),
    "gzip": (
        lambda path: path.write_bytes(gzip.compress(b"weights")),
        ("is not a known kind of weights file", "choose one of Keras", "unpack"),
    ),
    "tar": (packed, ("is not a known kind of weights file", "choose one of Keras", "unpack")),
    "zip": (
        lambda path: zipped(path, vgg19__pth=b"weights"),
        ("is not a known kind of weights file", "choose one of Keras", "unpack"),
    ),
    "noise": (
        lambda path: path.write_bytes(bytes(range(255, 0, -1))),
        ("is not a known kind of weights file", "choose one of Keras", "unpack"),
    ),
    "half a zip": (
        lambda path: path.write_bytes(b"PK\x03\x04" + bytes(300)),
        ("is cut short or damaged", "choose a whole file"),
    ),
}


@pytest.mark.parametrize("name", ["a.pth", "a.h5", "a.safetensors", "a", "a.npz", "a.tflite"])
@pytest.mark.parametrize("case", OTHER_KINDS)
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_the_kind_of_another_file_is_named(case: str, name: str, tmp_path: Path) -> None:
    make, words = OTHER_KINDS[case]
    make(tmp_path / name)
    sentence = refused(tmp_path / name)
    assert sentence.startswith(f"weights {str(tmp_path / name)!r} is ")
    assert all(part in sentence for part in words), sentence
    assert "size" not in sentence


FOLDERS = {
    "SavedModel": ("saved_model.pb", "variables/variables.index"),
    "unpacked .keras": ("config.json", "metadata.json", "model.weights.h5"),
    "other": ("vgg19.pth",),
}


@pytest.mark.parametrize("name", ["mine.keras", "vgg19", "mine.pth"])
@pytest.mark.parametrize("case", FOLDERS)
def test_folders_are_refused_with_advice(
    case: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in FOLDERS[case]:
        (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name / file).touch()
    monkeypatch.chdir(tmp_path)
    # A bare name can also be an existing folder.
    for asked in (tmp_path / name, name, f"{name}{os.sep}"):
        sentence = refused(asked)
        assert sentence.startswith(
            f"weights {str(tmp_path / name)!r} is a folder: pass the weights file"
        )
        assert "SavedModel, save the weights with model.save_weights('mine.weights.h5')" in sentence


def test_the_weights_of_an_unpacked_keras_file_are_read(tmp_path: Path) -> None:
    (tmp_path / "mine.keras").mkdir()
    keras_h5(tmp_path / "mine.keras" / "model.weights.h5")
    assert resolve(tmp_path / "mine.keras" / "model.weights.h5").preprocessing == "caffe"


@pytest.mark.parametrize(
    "address",
    [
        "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
        "HTTP://EXAMPLE.ORG/vgg19.h5",
        "s3://bucket/vgg19",
        "hf://someone/vgg19/model.safetensors",
        "file:///tmp/vgg19.pth",
        Path("https://example.org/vgg19.h5"),
    ],
)
def test_urls_are_refused_with_advice(address: str | Path) -> None:
    assert "is a URL, not a file: download it and pass its path" in refused(address)


# --- networks passed as weights


@pytest.fixture
def keras_models() -> list[Any]:
    import keras

    inputs = keras.Input((32, 32, 3))

    layers = [keras.layers.Conv2D(2, 3)]
    own = type("Own", (keras.Model,), {})
    return [keras.Model(inputs, layers[0](inputs)), keras.Sequential([inputs, *layers]), own()]


def test_a_keras_model_is_refused_with_advice(keras_models: list[Any], photo: Any) -> None:
    for model in keras_models:
        assert "pass a model of Keras or PyTorch as model=" in refused(model)
        with pytest.raises(WeightsError, match="pass a model of Keras or PyTorch as model="):
            LayerExplorer(photo, weights=model)
    assert FeatureExtractor(model=keras_models[0], size=32).weights.source == "model"


@pytest.mark.parametrize("network", [nn.ReLU(), nn.Flatten()])
def test_a_pytorch_network_is_refused_with_advice(network: Any) -> None:
    kind = type(network).__name__
    sentence = refused(network)
    assert sentence.startswith("weights ")
    assert "is neither a name nor a path" in sentence
    assert kind in sentence
    assert "state dict (model.state_dict())" in sentence
    assert "pass a model of Keras or PyTorch as model=" in sentence
    assert FeatureExtractor(model=network, size=32).weights.source == "model"


def test_a_file_or_a_state_dict_is_no_model() -> None:
    for file in ("mine.keras", Path("mine.keras")):
        sentence = refused("auto", ValueError, model=file)
        assert "not a model of Keras 3 or PyTorch: load a file with keras.models" in sentence
    sentence = refused("auto", ValueError, model=STATE)
    assert "model is a dict that is not a model of Keras 3" in sentence
    assert "pass the file or state dict of a VGG19 as weights" in sentence


# --- advice by the kind of error


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        (
            "0.bias",
            torch.full((64,), torch.nan),
            "with NaN or infinite values: choose weights from",
        ),
        (
            "2.bias",
            torch.zeros(64, dtype=torch.int8),
            "array of floats: save the weights as floats",
        ),
        ("2.bias", torch.zeros(64, device="meta"), "cannot be read (NotImplementedError): save it"),
    ],
)
def test_the_advice_fits_the_fault(key: str, value: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(behind("module.", {**STATE, key: value}), path)
    sentence = refused(path)
    assert f"{str(path)!r}: layer 'features.{key[0]}'" in sentence
    assert words in sentence
    assert "VGG19" not in sentence
