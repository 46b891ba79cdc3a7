"""Tests of Activations: the mapping, its statistics and rankings, and its files."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.conftest import make_activations
from vgg_widget import Activations, LayerInfo
from vgg_widget.support.provenance import Provenance

Floats = npt.NDArray[np.float32]


@pytest.fixture
def maps() -> Floats:
    """Return six 5×7 channels: mixed signs, positive, dead, constant, negative, one spike."""
    values = np.random.default_rng(3).normal(size=(5, 7, 6)).astype(np.float32)
    values[..., 1] = np.abs(values[..., 1]) + 1
    values[..., 2] = 0
    values[..., 3] = 2.5
    values[..., 4] = -np.abs(values[..., 4]) - 1
    values[..., 5] = 0
    values[2, 3, 5] = 9
    return values


# The mapping -------------------------------------------------------------------------------------


def test_it_is_a_mapping_in_network_order(activations: Activations) -> None:
    assert isinstance(activations, Mapping)
    names = [info.name for info in activations.layers]
    assert len(activations) == len(names) == 21
    assert list(activations) == list(activations.keys()) == names
    assert names[0] == "block1_conv1"
    assert names[-1] == "block5_pool"
    assert "block3_conv1" in activations
    assert "features.10" in activations
    assert "block9_conv1" not in activations
    assert activations.get("block9_conv1") is None
    assert [maps.shape[-1] for maps in activations.values()] == [
        info.channels for info in activations.layers
    ]


def test_every_map_is_float32_and_read_only(activations: Activations) -> None:
    for name, maps in activations.items():
        assert maps.dtype == np.float32, name
        assert maps.ndim == 3
        with pytest.raises(ValueError, match="read-only"):
            maps[0, 0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        activations.image[0, 0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        activations["features.10"][0, 0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        activations.statistics("block1_conv1").max[0] = 1
    with pytest.raises(TypeError):
        activations["block1_conv1"] = np.zeros(1)  # type: ignore[index]


def test_a_convolution_under_torchs_names(maps: Floats) -> None:
    made = make_activations(maps, before_relu=True)
    np.testing.assert_array_equal(made["features.0"], maps)
    np.testing.assert_array_equal(made["features.1"], np.where(maps > 0, maps, 0))
    np.testing.assert_array_equal(made["conv"], np.where(maps > 0, maps, 0))
    assert (made["features.0"] < 0).any()


@pytest.mark.parametrize("channels", [[5], [4, 2, 5], list(range(6)), []])
def test_of_channels_returns_the_chosen_channels(maps: Floats, channels: list[int]) -> None:
    made = make_activations(maps, before_relu=True)
    rectified = np.where(maps > 0, maps, 0)
    for name, expected in (("features.0", maps), ("features.1", rectified), ("conv", rectified)):
        found = made.of_channels(name, channels)
        np.testing.assert_array_equal(found, expected[..., channels])
        assert found.dtype == np.float32
        with pytest.raises(ValueError, match="read-only"):
            found[:] = 1


def test_every_torch_name_of_vgg19(activations: Activations) -> None:
    convolutions = [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34]
    names = [name for name in activations if "conv" in name]
    for name, index in zip(names, convolutions, strict=True):
        before, after = activations[f"features.{index}"], activations[f"features.{index + 1}"]
        assert (before < 0).any(), name
        np.testing.assert_array_equal(after, np.maximum(before, 0))
        np.testing.assert_array_equal(after, activations[name])
        assert activations.info(f"features.{index}").name == name
    pools = [name for name in activations if "pool" in name]
    for name, index in zip(pools, (4, 9, 18, 27, 36), strict=True):
        np.testing.assert_array_equal(activations[f"features.{index}"], activations[name])


def test_before_and_after_relu_by_any_name(activations: Activations, maps: Floats) -> None:
    for name in ("block3_conv1", "features.10", "features.11"):
        assert activations.before_relu(name) == "features.10"
        assert activations.after_relu(name) == "block3_conv1"
    for name in ("block3_pool", "features.18"):
        assert activations.before_relu(name) is None
        assert activations.after_relu(name) == "block3_pool"
    # Maps passed by the user, which have no values from before the ReLU.
    made = make_activations(np.abs(maps), others={"mine": maps})
    assert made.before_relu("conv") is None
    assert made.before_relu("mine") is None
    assert made.after_relu("mine") == "mine"
    for ask in (activations.before_relu, activations.after_relu):
        with pytest.raises(KeyError, match=r"did you mean 'block3_conv1'\?"):
            ask("block3_conv11")


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("block3_conv11", r"layer 'block3_conv11' .*did you mean 'block3_conv1'\?"),
        ("feature.10", r"layer 'feature\.10' .*did you mean 'features\.10'\?"),
        ("zzzz", r"layer 'zzzz' .*choose one of the \d+ names from 'block1_conv1' to"),
    ],
)
def test_an_unknown_layer_raises_a_key_and_value_error_with_a_suggestion(
    activations: Activations, layer: str, message: str
) -> None:
    asking: list[Callable[[], Any]] = [
        lambda: activations[layer],
        lambda: activations.info(layer),
        lambda: activations.at(layer, 0, 0),
        lambda: activations.rank(layer),
        lambda: activations.statistics(layer),
    ]
    for ask in asking:
        with pytest.raises(KeyError, match=message):
            ask()
        with pytest.raises(ValueError, match=message) as caught:
            ask()
        # The message of a plain KeyError is the repr of its argument.
        assert not str(caught.value).startswith(("'", '"'))


def test_equality_is_identity_and_repr_is_one_line(activations: Activations) -> None:
    same = Activations(
        activations.layers, dict(activations), activations.image, activations.weights
    )
    assert activations == activations  # noqa: PLR0124 - equality itself is under test
    assert activations != same
    assert len({activations, same}) == 2
    assert repr(activations) == (
        f"<Activations of 21 layers, image 64×75, {activations.weights.label}>"
    )


def test_at_is_the_channel_vector(activations: Activations) -> None:
    vector = activations.at("block3_conv1", 2, 5)
    np.testing.assert_array_equal(vector, activations["block3_conv1"][2, 5, :])
    assert vector.shape == (256,)
    np.testing.assert_array_equal(
        activations.at("features.10", 2, 5), activations["features.10"][2, 5, :]
    )
    with pytest.raises(ValueError, match="read-only"):
        vector[0] = 1


@pytest.mark.parametrize(
    ("row", "column", "message"),
    [
        (16, 0, r"row 16 .*'block3_conv1'.* 16 rows: choose whole numbers 0 to 15"),
        (0, 18, r"column 18 .* 18 columns: choose whole numbers 0 to 17"),
        (-1, 0, r"row -1 "),
        (1.5, 0, r"row 1\.5 is outside .*16 rows: choose whole numbers 0 to 15"),
        (0, None, r"column None is outside .* 0 to 17"),
        ("1", 0, r"row '1' is outside"),
    ],
)
def test_at_outside_the_map(activations: Activations, row: Any, column: Any, message: str) -> None:
    with pytest.raises(IndexError, match=message):
        activations.at("block3_conv1", row, column)
    with pytest.raises(IndexError, match=message):
        activations.rank_at("block3_conv1", row, column)


# Numbers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["block1_conv1", "block3_conv2", "block5_pool", "features.10"])
def test_statistics_match_numpy(activations: Activations, layer: str) -> None:
    statistics = activations.statistics(layer)
    flat = activations[layer].astype(np.float64).reshape(-1, activations[layer].shape[-1])
    np.testing.assert_array_equal(statistics.min, flat.min(0))
    np.testing.assert_array_equal(statistics.max, flat.max(0))
    np.testing.assert_allclose(statistics.mean, flat.mean(0), rtol=1e-6)
    np.testing.assert_allclose(statistics.std, flat.std(0), rtol=1e-6)
    np.testing.assert_allclose(statistics.fraction_active, (flat > 0).mean(0), rtol=1e-6)
    for name in ("min", "max", "mean", "std", "fraction_active"):
        assert getattr(statistics, name).dtype == np.float32
        assert getattr(statistics, name).shape == (flat.shape[1],)


def entropy_in_bits(channel: npt.NDArray[np.float64]) -> float:
    total = sum(abs(value) for value in channel)
    shares = [abs(value) / total for value in channel if value != 0]
    return float(-sum(share * np.log2(share) for share in shares))


SCORES: dict[str, Callable[[npt.NDArray[np.float64]], float]] = {
    "max": lambda channel: float(channel.max()),
    "mean": lambda channel: float(channel.mean()),
    "std": lambda channel: float(np.sqrt(((channel - channel.mean()) ** 2).mean())),
    "sparsity": lambda channel: float((channel <= 0).sum() / channel.size),
    "entropy": entropy_in_bits,
}


@pytest.mark.parametrize("before_relu", [True, False])
@pytest.mark.parametrize("channels", [[5], [4, 0, 5], [5, 4, 3, 2, 1], []])
def test_statistics_of_some_channels(maps: Floats, before_relu: bool, channels: list[int]) -> None:
    made = make_activations(maps, before_relu=before_relu)
    shown = np.maximum(maps, 0) if before_relu else maps
    flat = shown.astype(np.float64).reshape(-1, 6)[:, channels]
    for _ in range(2):
        found = made.statistics("conv", channels)
        np.testing.assert_array_equal(found.min, flat.min(0))
        np.testing.assert_array_equal(found.max, flat.max(0))
        np.testing.assert_allclose(found.mean, flat.mean(0), rtol=1e-6)
        np.testing.assert_allclose(found.std, flat.std(0), rtol=1e-6)
        np.testing.assert_allclose(found.fraction_active, (flat > 0).mean(0), rtol=1e-6)
        np.testing.assert_array_equal(found.fraction_finite, np.ones(len(channels)))
        # In the second pass they are taken from the cached statistics of the whole layer.
        made.statistics("conv")


@pytest.mark.parametrize("number", [-1, 6, 1.0, True, "1"])
def test_channels_that_the_layer_does_not_have(maps: Floats, number: Any) -> None:
    made = make_activations(maps)
    for ask in (made.of_channels, made.statistics):
        with pytest.raises(IndexError, match="but layer 'conv' has 6 channels: choose whole"):
            ask("conv", [0, number])


@pytest.mark.parametrize("before_relu", [True, False])
def test_statistics_ignore_values_that_are_not_finite(maps: Floats, before_relu: bool) -> None:
    many = np.tile(maps, (40, 60, 1))
    many[3, 5, 0], many[9, :, 1], many[..., 2] = np.nan, np.inf, np.nan
    made = make_activations(many, before_relu=before_relu)
    statistics = made.statistics("conv")
    for channel in range(6):
        values = many[..., channel].ravel()
        values = np.where(values < 0, 0, values) if before_relu else values
        known = values[np.isfinite(values)].astype(np.float64)
        expected = {
            "min": known.min(initial=np.inf) if known.size else 0,
            "max": known.max(initial=-np.inf) if known.size else 0,
            "mean": known.mean() if known.size else 0,
            "std": known.std() if known.size else 0,
            "fraction_active": (values > 0).mean(),
            "fraction_finite": known.size / values.size,
        }
        for name, number in expected.items():
            np.testing.assert_allclose(
                getattr(statistics, name)[channel], number, rtol=1e-6, atol=1e-7, err_msg=name
            )


@pytest.mark.parametrize("by", SCORES)
@pytest.mark.parametrize("layer", ["block2_conv1", "block4_conv1", "features.19"])
def test_rank_puts_the_strongest_first(activations: Activations, layer: str, by: str) -> None:
    maps = activations[layer].astype(np.float64).reshape(-1, activations[layer].shape[-1])
    alive = [k for k in range(maps.shape[1]) if maps[:, k].any()]
    scores = {k: SCORES[by](maps[:, k]) for k in alive}
    order = activations.rank(layer, by).tolist()
    assert sorted(order) == list(range(maps.shape[1]))
    assert set(order[len(alive) :]).isdisjoint(alive)  # dead channels come last
    along = np.array([scores[k] for k in order[: len(alive)]])
    assert (np.diff(along) <= 1e-5 * np.abs(along[:-1]) + 1e-9).all()
    assert order[0] in [k for k in alive if scores[k] >= max(scores.values()) * (1 - 1e-5)]


def test_rank_of_known_channels(maps: Floats) -> None:
    # Channels: 0 mixed signs, 1 positive, 2 dead, 3 constant, 4 negative, 5 one spike.
    made = make_activations(maps)
    for by in (*SCORES, "index"):
        order = made.rank("conv", by).tolist()
        assert order.index(2) == (2 if by == "index" else 5), by
    assert made.rank("conv", "index").tolist() == [0, 1, 2, 3, 4, 5]
    assert made.rank("conv").tolist()[0] == 5  # the default is "max"
    assert made.rank("conv", "sparsity").tolist()[:2] == [4, 5]  # active nowhere, active once
    assert made.rank("conv", "entropy").tolist()[0] == 3  # spread evenly: log2(35) bits
    assert made.rank("conv", "entropy").tolist()[4] == 5  # in one place: 0 bits


def test_equal_channels_keep_the_networks_order() -> None:
    same = make_activations(np.ones((4, 4, 300), np.float32))
    for by in (*SCORES, "index"):
        assert same.rank("conv", by).tolist() == list(range(300)), by


def test_the_entropy_of_a_layer_is_computed_once(
    maps: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    activations = make_activations(maps, before_relu=True)
    first = {layer: activations.rank(layer, "entropy") for layer in ("features.0", "features.1")}
    monkeypatch.delattr("vgg_widget.activations.mapping.spatial_entropy")
    for layer, expected in first.items():
        again = activations.rank(layer, "entropy")
        np.testing.assert_array_equal(again, expected)
        # Changing a returned ranking must not change the cached one.
        again[:] = 0
        np.testing.assert_array_equal(activations.rank(layer, "entropy"), expected)


def test_an_unknown_ranking_raises_with_a_suggestion(activations: Activations) -> None:
    with pytest.raises(ValueError, match=r"by 'entropie' .*did you mean 'entropy'"):
        activations.rank("block1_conv1", "entropie")


def test_top_is_the_percentile_of_positive_values(activations: Activations) -> None:
    layer = activations["block2_conv1"]
    expected = np.percentile(layer[layer > 0], 99.9)
    assert activations.top("block2_conv1", 99.9) == pytest.approx(expected, rel=1e-6)
    before = np.abs(activations["features.5"])
    expected = np.percentile(before[before > 0], 90)
    assert activations.top("features.5", 90, signed=True) == pytest.approx(expected, rel=1e-6)
    everything = np.concatenate([maps[maps > 0] for maps in activations.values()])
    expected = np.percentile(everything, 99)
    assert activations.top(None, 99) == pytest.approx(expected, rel=1e-6)


# Files -------------------------------------------------------------------------------------------


def test_saved_and_loaded_to_the_last_bit(activations: Activations, tmp_path: Path) -> None:
    path = tmp_path / "cat.npz"
    activations.save(path)
    loaded = Activations.load(path)
    assert loaded.layers == activations.layers
    assert loaded.weights == activations.weights
    assert loaded.image.dtype == np.uint8
    np.testing.assert_array_equal(loaded.image, activations.image)
    for name in [*activations, "features.0", "features.1", "features.36"]:
        assert loaded[name].tobytes() == activations[name].tobytes(), name
        assert loaded[name].dtype == np.float32
        assert not loaded[name].flags.writeable
    assert [entry.name for entry in tmp_path.iterdir()] == ["cat.npz"]


def test_provenance_and_geometry_survive(maps: Floats, tmp_path: Path) -> None:
    layer = LayerInfo("odd ü/name", None, "dense", 6, 7)
    weights = Provenance("file", "a label ×", "/some/path.h5", "md5:1", "Beware.")
    made = Activations([layer], {layer.name: maps}, np.zeros((35, 49, 3), np.uint8), weights)
    made.save(str(tmp_path / "odd.npz"))
    loaded = Activations.load(str(tmp_path / "odd.npz"))
    assert loaded.layers == (layer,)
    assert loaded.weights == weights
    np.testing.assert_array_equal(loaded["odd ü/name"], maps)


def test_save_and_load_expand_the_home_folder(
    maps: Floats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    make_activations(maps).save("~/mine.npz")
    assert (tmp_path / "mine.npz").is_file()
    np.testing.assert_array_equal(Activations.load("~/mine.npz")["conv"], maps)


def test_only_npz_is_saved(maps: Floats, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cat\.npy' does not end in \.npz"):
        make_activations(maps).save(tmp_path / "cat.npy")
    for name in ("cat.NPZ", ".npz"):
        with pytest.raises(ValueError, match=r"does not end in \.npz"):
            make_activations(maps).save(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"nowhere.*make the folder first"):
        make_activations(maps).save(tmp_path / "nowhere" / "cat.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_keeps_the_old_file(
    maps: Floats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cat.npz"
    make_activations(maps).save(path)

    def fail(file: Any, **_: object) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="No space left"):
        make_activations(maps * 2).save(path)
    np.testing.assert_array_equal(Activations.load(path)["conv"], maps)
    assert [entry.name for entry in tmp_path.iterdir()] == ["cat.npz"]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npz"):
        Activations.load(tmp_path / "nowhere.npz")


def assert_not_loaded(path: Path) -> None:
    with pytest.raises(
        ValueError, match=rf"path '{path}' holds no saved activations.*: pass a file that"
    ):
        Activations.load(path)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 broken", b"\x93NUMPY"])
def test_files_that_are_not_archives_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    assert_not_loaded(path)


def test_other_numpy_files(tmp_path: Path) -> None:
    array, archive = tmp_path / "a.npy", tmp_path / "b.npz"
    np.save(array, np.zeros(3))
    assert_not_loaded(array)
    np.savez(archive, weights=np.zeros(3))
    assert_not_loaded(archive)
    np.savez(archive, header=np.array("[]"), image=np.zeros(3))
    assert_not_loaded(archive)
    np.savez(archive, header=np.array("no json"))
    assert_not_loaded(archive)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_files(maps: Floats, share: float, tmp_path: Path) -> None:
    path = tmp_path / "cat.npz"
    make_activations(maps).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert_not_loaded(path)


@pytest.mark.parametrize(("offset", "value"), [(8, 1), (10, 99)], ids=["encrypted", "unpackable"])
def test_members_that_zipfile_refuses(
    maps: Floats, offset: int, value: int, tmp_path: Path
) -> None:
    path = tmp_path / "cat.npz"
    make_activations(maps).save(path)
    data = bytearray(path.read_bytes())
    # Flags and method of the central directory's entries: 4.3.12 of PKWARE's APPNOTE.
    start = data.find(b"PK\x01\x02")
    while start >= 0:
        data[start + offset] = value
        start = data.find(b"PK\x01\x02", start + 4)
    path.write_bytes(data)
    assert_not_loaded(path)


def test_a_header_nested_too_deep(tmp_path: Path) -> None:
    path = tmp_path / "deep.npz"
    np.savez(path, header=np.array("[" * 200_000))
    assert_not_loaded(path)


def test_a_flipped_byte_is_found(maps: Floats, tmp_path: Path) -> None:
    path = tmp_path / "cat.npz"
    make_activations(maps).save(path)
    data = path.read_bytes()
    at = data.index(maps.tobytes()[100:140])
    path.write_bytes(data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :])
    assert_not_loaded(path)


class Bomb:
    """An object that fails the test when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("the file was unpickled",))


@pytest.mark.parametrize("entry", ["header", "image", "maps/conv"])
def test_nothing_is_unpickled(maps: Floats, entry: str, tmp_path: Path) -> None:
    path = tmp_path / "cat.npz"
    make_activations(maps).save(path)
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    poisoned = np.empty(1, object)
    poisoned[0] = Bomb()
    arrays[entry] = poisoned
    np.savez(path, **arrays)
    with zipfile.ZipFile(path) as archive:
        assert b"pytest" in archive.read(f"{entry}.npy")
    assert_not_loaded(path)


def test_a_file_of_a_later_version_is_refused_by_its_number(maps: Floats, tmp_path: Path) -> None:
    path = tmp_path / "cat.npz"
    make_activations(maps).save(path)
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    header = str(arrays["header"])
    assert '"version": 1' in header
    arrays["header"] = np.array(header.replace('"version": 1', '"version": 99'))
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=r"version 99"):
        Activations.load(path)


def test_maps_that_do_not_fit_their_layer_are_refused(maps: Floats, tmp_path: Path) -> None:
    path = tmp_path / "cat.npz"
    make_activations(maps).save(path)
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    for wrong in (maps[..., :3], maps[..., 0], maps.astype(np.float64), maps.astype("U3")):
        np.savez(path, **{**arrays, "maps/conv": wrong})
        assert_not_loaded(path)
    for wrong_image in (np.zeros((5, 7), np.uint8), np.zeros((5, 7, 3), np.float32)):
        np.savez(path, **{**arrays, "image": wrong_image})
        assert_not_loaded(path)
