"""Brute-force versions in plain NumPy: strongest images, statistics and choice of channels."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from vgg_widget import FeatureExtractor
from vgg_widget.dataset import TopActivations

Floats = npt.NDArray[np.float32]


def exact_model(seed: int = 0) -> Any:
    """Return a Keras network with integer weights.

    For pixels it computes only integers below 2²⁴, which float32 holds exactly, whatever the order
    of addition. Many of them are equal.
    """
    import keras

    rng = np.random.default_rng(seed)
    model = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="edges"),
            keras.layers.MaxPooling2D(name="half"),
            keras.layers.Conv2D(5, 3, name="corners"),
        ]
    )
    for layer in (model.get_layer("edges"), model.get_layer("corners")):
        layer.set_weights([rng.integers(-2, 3, weights.shape) for weights in layer.get_weights()])
    return model


def maps_of(model: Any, pictures: Sequence[npt.NDArray[Any]], layer: str) -> list[Floats]:
    """Return a layer's maps of each picture, computed one at a time with Keras alone."""
    import keras

    cut = keras.Model(model.inputs[0], model.get_layer(layer).output)
    return [np.asarray(cut(one[np.newaxis].astype(np.float32)))[0] for one in pictures]


def assert_strongest(
    top: TopActivations,
    layer: str,
    maps: Sequence[Floats | None],
    *,
    statistic: str = "max",
    exact: bool = True,
) -> None:
    """Compare a layer's results with plain loops over its maps; None stands for a bad image."""
    found = top[layer]
    good = [place for place, one in enumerate(maps) if one is not None]
    channels = next(one for one in maps if one is not None).shape[-1]
    assert found.values.shape == (channels, min(top.k, len(good)))
    tolerance: Any = {"rtol": 0, "atol": 0} if exact else {"rtol": 1e-4, "atol": 1e-3}
    for channel in range(channels):
        values: dict[int, float] = {}
        peaks: dict[int, float] = {}
        for place in good:
            each = maps[place]
            assert each is not None
            one = each[..., channel]
            peaks[place] = float(one.max())
            mean = np.float32(one.sum(dtype=np.float64) / one.size)
            values[place] = peaks[place] if statistic == "max" else float(mean)
        order = sorted(good, key=lambda place: (-values[place], place))[: top.k]
        np.testing.assert_allclose(
            found.values[channel], [values[place] for place in order], **tolerance
        )
        if exact:
            assert found.images[channel].tolist() == order
        else:
            got = [values[place] for place in found.images[channel]]
            np.testing.assert_allclose(got, [values[place] for place in order], **tolerance)
        for rank, place in enumerate(found.images[channel]):
            row, column = int(found.rows[channel, rank]), int(found.columns[channel, rank])
            one = maps[place][..., channel]
            if exact:
                assert (row, column) == np.unravel_index(one.argmax(), one.shape)
            np.testing.assert_allclose(one[row, column], peaks[int(place)], **tolerance)
        every = np.array(list(values.values()))
        np.testing.assert_allclose(found.mean[channel], every.mean(), rtol=1e-6 if exact else 1e-4)
        share = np.mean(np.array(list(peaks.values())) > 0)
        assert found.fraction_active[channel] == share
        if exact:
            edges = np.array([-np.inf, *top.histogram_edges, np.inf])
            by_hand = [
                np.count_nonzero((every >= low) & (every < high))
                for low, high in itertools.pairwise(edges)
            ]
            assert found.histogram[channel].tolist() == by_hand
        assert found.counted[channel] == found.histogram[channel].sum() == len(good)


def assert_same(one: TopActivations, other: TopActivations) -> None:
    """Assert that two results are equal to the last bit."""
    assert list(one) == list(other)
    assert (one.images, one.failed) == (other.images, other.failed)
    np.testing.assert_array_equal(one.seen.sizes, other.seen.sizes)
    np.testing.assert_array_equal(one.seen.digests, other.seen.digests)
    for layer in one:
        for part in ("values", "images", "rows", "columns", "boxes", "histogram", "counted"):
            assert_bits(getattr(one[layer], part), getattr(other[layer], part))
        for part in ("mean", "fraction_active"):
            assert_bits(getattr(one[layer], part), getattr(other[layer], part))


def assert_bits(one: Any, other: Any) -> None:
    assert (one is None) == (other is None)
    if one is not None:
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tobytes() == other.tobytes()


def read(folder: Path, name: str) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(folder / name).convert("RGB"))


def exact_extractor(seed: int = 0) -> FeatureExtractor:
    return FeatureExtractor(model=exact_model(seed), size=None)


def most_telling(maps: Floats, count: int) -> list[int]:
    """Choose channels one at a time by spread × (1 − largest |correlation| with those chosen)."""
    rows = maps.reshape(-1, maps.shape[-1]).T.astype(np.float64)
    chosen: list[int] = []
    while len(chosen) < count:
        scores = {
            number: row.std()
            * (1 - max([abs(np.corrcoef(row, rows[c])[0, 1]) for c in chosen] or [0]))
            for number, row in enumerate(rows)
            if number not in chosen and row.std() > 0
        }
        chosen.append(max(scores, key=lambda number: scores[number]))
    return chosen
