"""Tests that good, mutated and arbitrary input is read or refused with a clear error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from traitlets import TraitError

from tests import made_files as made
from tests.fuzz.seeds import SEEDS, STATES, images, some_weights, weights_files
from tests.fuzz.targets import (
    FINDINGS,
    PICTURE,
    SUFFIXES,
    TARGETS,
    check_image,
    check_sentence,
    check_state,
    described_state,
    first_byte,
    mended,
    read_weights,
    untrained,
    weights,
)
from vgg_widget import ImageError, LayerExplorer, WeightsError, load_image

RGB8 = npt.NDArray[np.uint8]


def every_finding() -> list[Any]:
    return [
        pytest.param(folder.name, path, id=f"{folder.name}-{path.name}")
        for folder in sorted(FINDINGS.iterdir())
        for path in sorted(folder.iterdir())
    ]


@pytest.mark.parametrize(("target", "path"), every_finding())
def test_findings_of_the_fuzzer_break_no_promise(target: str, path: Path) -> None:
    TARGETS[target](path.read_bytes())


@pytest.mark.parametrize("target", SEEDS)
def test_good_files_break_no_promise(target: str) -> None:
    for data in SEEDS[target]().values():
        TARGETS[target](data)


@pytest.mark.slow
@pytest.mark.parametrize("good", STATES, ids=range(len(STATES)))
def test_good_states_make_explorers(good: dict[str, Any]) -> None:
    check_state({**described_state(b""), **good})


# --- arbitrary bytes and mutated files

MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(["overwrite", "insert", "delete", "repeat", "cut"]),
        st.floats(0, 1),
        st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=4,
)


def mutated(data: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    """Change some bytes, at positions given as fractions of the length."""
    for how, part, some in changes:
        at = int(part * len(data))
        before, after = data[:at], data[at:]
        data = {
            "overwrite": before + some + after[len(some) :],
            "insert": before + some + after,
            "delete": before + after[len(some) :],
            "repeat": before + after[:64] + after,
            "cut": before,
        }[how]
    return data


PICTURE_FILES = images()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_picture_or_refused(data: bytes) -> None:
    check_image(data)


@given(st.sampled_from(sorted(PICTURE_FILES)), MUTATIONS)
def test_any_changed_picture_file_is_read_or_refused(
    name: str, changes: list[tuple[str, float, bytes]]
) -> None:
    check_image(mutated(PICTURE_FILES[name], changes))


# --- arbitrary arrays

SIDES = st.integers(32, 48)
PICTURES = st.tuples(SIDES, SIDES, st.just(3)).flatmap(lambda shape: hnp.arrays(np.uint8, shape))


@given(PICTURES)
def test_any_picture_comes_back_from_png(picture: RGB8) -> None:
    np.testing.assert_array_equal(load_image(made.png(picture)), picture)
    np.testing.assert_array_equal(load_image(picture), picture)


@given(PICTURES, st.sampled_from(["f4", ">f8"]))
def test_any_picture_comes_back_from_floats(picture: RGB8, dtype: str) -> None:
    # Floats of a nearly black picture would be read as 0-1, or refused.
    picture[::2] = np.maximum(picture[::2], 16)
    np.testing.assert_array_equal(load_image(picture.astype(dtype) / np.float32(255)), picture)
    np.testing.assert_array_equal(load_image(picture.astype(dtype)), picture)


ANY_DTYPE = st.one_of(
    hnp.scalar_dtypes(),
    hnp.unicode_string_dtypes(),
    hnp.byte_string_dtypes(),
    hnp.array_dtypes(max_size=3),
)
ANY_SHAPE = st.one_of(
    hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5),
    st.tuples(SIDES, SIDES),
    st.tuples(SIDES, SIDES, st.integers(0, 5)),
    st.tuples(st.integers(0, 5), SIDES, SIDES),
)


@given(hnp.arrays(ANY_DTYPE, ANY_SHAPE))
def test_any_array_is_a_picture_or_refused(array: npt.NDArray[Any]) -> None:
    kept = array.tobytes()
    for turned in (array, array[::-1] if array.ndim else array, array.T):
        check_image(turned)
    assert array.tobytes() == kept


NESTED_LISTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=12,
)


@given(NESTED_LISTS.filter(lambda value: not isinstance(value, str)))
def test_any_lists_are_refused(value: object) -> None:
    with pytest.raises(ImageError) as caught:
        load_image(value)
    check_sentence(caught.value, "image")


@given(st.text(max_size=300) | st.text("./~\\:%\0\n", max_size=9))
def test_any_text_that_is_no_file_is_refused(name: str) -> None:
    with pytest.raises(ImageError) as caught:
        load_image(f"no-such-folder/{name}")
    check_sentence(caught.value, "image")


# --- weights

WEIGHTS_FILES = weights_files(some_weights(5))


@pytest.mark.parametrize("suffix", WEIGHTS_FILES)
def test_small_files_of_weights_give_their_numbers(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(mended(WEIGHTS_FILES[suffix]))
    arrays = read_weights(path)
    assert arrays is not None
    # .npz stores kernels in 16 bits; the other formats store them exactly.
    within = 2e-3 if suffix == ".npz" else 0
    for name, pair in some_weights(5).items():
        for got, wanted in zip(arrays[name], pair, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=within, atol=within)


@given(st.sampled_from(list(WEIGHTS_FILES)), st.booleans(), MUTATIONS)
def test_any_changed_file_of_weights_is_read_or_refused(
    suffix: str,
    mend: bool,
    changes: list[tuple[str, float, bytes]],
) -> None:
    weights(first_byte(suffix, mend=mend) + mutated(WEIGHTS_FILES[suffix], changes))


@given(st.sampled_from(SUFFIXES), st.binary(max_size=100))
def test_any_bytes_are_refused_as_weights(suffix: str, data: bytes) -> None:
    weights(first_byte(suffix, mend=False) + data)


# --- states

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(JSON)
def test_any_json_is_a_state_or_refused(given_state: Any) -> None:
    check_state(given_state)


KEYS = sorted({key for one in STATES for key in one})


# Creating an explorer takes a fifth of a second, and much of this JSON creates one.
@pytest.mark.slow
@settings(max_examples=settings().max_examples // 2)
@given(st.sampled_from(STATES), st.sampled_from(KEYS), JSON)
def test_any_changed_state_makes_an_explorer_or_is_refused(
    good: dict[str, Any], key: str, value: Any
) -> None:
    check_state({**described_state(b""), **json.loads(json.dumps({**good, key: value}))})


LARGE = 10**400  # JSON allows integers larger than any float.


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("usual_cmap", "no-such-map"),
        ("usual_cmap", None),
        ("percentile", LARGE),
        ("gamma", LARGE),
        ("overlay", -LARGE),
        ("channel", LARGE),
        ("version", [1]),
        ("top", LARGE),
        ("predict", LARGE),
        ("panel", "<script>"),
    ],
    ids=range(10),
)
def test_a_wrong_value_is_refused_by_its_key(key: str, value: Any) -> None:
    given_state = {**described_state(b""), key: value}
    with pytest.raises((ValueError, TraitError), match=rf"\b{key}\b"):
        LayerExplorer.from_state(PICTURE, given_state, extractor=untrained())


# A known name would be looked up in caches, and its network built.
@given(JSON.filter(lambda value: value not in ("auto", "imagenet", "kmeans", "random")))
def test_weights_in_a_state_are_read_or_refused(value: Any) -> None:
    with pytest.raises(WeightsError) as caught:
        LayerExplorer.from_state(PICTURE, {"version": 1, "weights": value})
    check_sentence(caught.value, "weights")


@pytest.mark.parametrize(
    "name", ["x" * 5000, "/" + "x" * 5000 + ".h5", "a\0b.h5", "\ud800.h5", "/"]
)
def test_impossible_names_of_weights_files_are_refused(name: str) -> None:
    with pytest.raises(WeightsError) as caught:
        LayerExplorer.from_state(PICTURE, {"version": 1, "weights": name})
    check_sentence(caught.value, "weights")


def _is_size(value: Any) -> bool:
    sides = value if isinstance(value, list) and len(value) == 2 else [value]
    return value is None or all(type(side) is int and side >= 32 for side in sides)


@given(JSON.filter(lambda value: not _is_size(value)))
def test_an_invalid_size_in_a_state_is_refused(value: Any) -> None:
    given_state = {"version": 1, "weights": "random", "size": value}
    with pytest.raises(ValueError, match=r"^size .* cannot be used: give"):
        LayerExplorer.from_state(PICTURE, given_state)
