"""Tests with a local Dask cluster: any number or loss of workers gives the same result."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.brute_force import assert_same, assert_strongest, exact_extractor, exact_model, maps_of
from tests.local_cluster import local_client
from tests.made_pictures import picture, write_pictures
from vgg_widget import FeatureExtractor
from vgg_widget.dataset import image_set, top_activations
from vgg_widget.network.portable import PortableExtractor

# Keras saves its own variables in a way that numpy 2 has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

COUNT = 200


@pytest.fixture(scope="module")
def two() -> Iterator[Any]:
    """Yield a client with two workers in separate processes."""
    with local_client(2) as client:
        yield client


@pytest.fixture(scope="module")
def one() -> Iterator[Any]:
    """Yield a client with one worker in this process."""
    with local_client(1, processes=False) as client:
        yield client


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("set") / "pictures"
    write_pictures(path, COUNT)
    (path / "zzz.png").write_bytes(b"no picture")
    return path


@pytest.fixture
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut small shards, which give many tasks and two levels of merging."""
    monkeypatch.setattr(image_set, "_LEAST", 4)
    monkeypatch.setattr(image_set, "_MOST", 8)


@pytest.mark.slow
@pytest.mark.usefixtures("_small_shards")
def test_one_worker_gives_the_result_without_a_cluster(
    one: Any, folder: Path, tmp_path: Path
) -> None:
    extractor = exact_extractor()
    here = top_activations(extractor, folder, progress=False)
    calls: list[tuple[int, int | None]] = []
    there = top_activations(
        extractor,
        folder,
        client=one,
        store=tmp_path / "store",
        progress=lambda done, total: calls.append((done, total)),
    )
    assert_same(here, there)
    assert list(there.failed) == ["zzz.png"]
    assert calls[-1] == (COUNT + 1, COUNT + 1)
    # The store of a worker is found without a cluster.
    assert_same(here, top_activations(extractor, folder, progress=False, store=tmp_path / "store"))
    # Pictures in memory are sent to the worker.
    images = [picture(number) for number in range(20)]
    found = top_activations(extractor, iter(images), "half", client=one, progress=False)
    assert_strongest(found, "half", maps_of(exact_model(), images, "half"))


def test_errors_of_a_worker_are_raised_in_the_calling_process(one: Any, folder: Path) -> None:
    import keras

    class Own(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x * 2

    model = keras.Sequential([keras.Input((None, None, 3)), Own()])
    extractor = FeatureExtractor(model=model, size=None)
    with pytest.raises(ValueError, match=r"cannot be loaded on a worker .*register_keras"):
        top_activations(extractor, folder, client=one, progress=False)
    with pytest.raises(ValueError, match="images can be used"):
        top_activations(exact_extractor(), [b"no picture"], client=one, progress=False)


def test_workers_may_be_started_on_demand() -> None:
    images = [picture(number) for number in range(5)]
    with local_client(0, processes=False) as client:
        client.cluster.adapt(minimum=0, maximum=1, interval="50ms")
        there = top_activations(exact_extractor(), images, client=client, progress=False)
    assert_same(there, top_activations(exact_extractor(), images, progress=False))


def test_a_closed_client_is_refused() -> None:
    with local_client(0, processes=False) as client:
        client.close()
        with pytest.raises(ValueError, match="client is closed: connect a new one"):
            top_activations(exact_extractor(), [picture(1)], client=client)


def test_a_portable_extractor_makes_the_same_network() -> None:
    extractor = exact_extractor()
    there = PortableExtractor.of(extractor).extractor()
    for maps, others in zip(
        extractor(picture(2)).values(), there(picture(2)).values(), strict=True
    ):
        np.testing.assert_array_equal(maps, others)
    damaged = PortableExtractor.of(extractor)
    object.__setattr__(damaged, "digest", "sha256:0")
    with pytest.raises(ValueError, match="could not be recreated exactly"):
        damaged.extractor()


@pytest.mark.slow
@pytest.mark.usefixtures("own_networks")
def test_changed_weights_are_not_mixed_up_with_the_original_ones() -> None:
    extractor = FeatureExtractor("random", size=None)
    before = PortableExtractor.of(extractor)
    layer = extractor.model.get_layer("block1_conv1")
    kernel, bias = layer.get_weights()
    try:
        layer.set_weights([kernel, bias + 100])
        after = PortableExtractor.of(extractor)
        # The process of a worker also builds one network after the other.
        found = [
            sent.extractor()(picture(2))["block1_conv1"] for sent in (before, after, before, after)
        ]
    finally:
        layer.set_weights([kernel, bias])
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[1], found[3])
    # The maps come after a ReLU: where both are above 0, they differ by the added bias.
    on = found[0] > 1
    np.testing.assert_allclose(found[1][on] - found[0][on], 100, rtol=1e-4)


@pytest.mark.usefixtures("_small_shards")
def test_a_worker_that_leaves_midway(folder: Path) -> None:
    extractor = exact_extractor()
    left: list[int] = []
    with local_client(2, processes=False) as client:
        first, _ = client.scheduler_info()["workers"]

        def leave(done: int, _: object) -> None:
            if done > COUNT // 3 and not left:
                left.append(done)
                # Remove the worker without asking it, as if its machine were switched off.
                worker = client.cluster.scheduler.workers[first]
                client.sync(client.cluster.scheduler.remove_worker, worker.address, stimulus_id="t")

        there = top_activations(extractor, folder, client=client, progress=leave)
        assert first not in client.scheduler_info()["workers"]
    assert left[0] < 2 * COUNT / 3
    assert_same(there, top_activations(extractor, folder, progress=False))


@pytest.mark.slow
def test_two_workers_give_what_one_process_gives_with_vgg19(two: Any, folder: Path) -> None:
    extractor = FeatureExtractor("random", size=(32, 32))
    layers = ["block1_conv1", "block2_pool", "block3_conv1", "features.10"]
    some = sorted(folder.rglob("*.png"))[::4]
    here = top_activations(extractor, some, layers, progress=False)
    there = top_activations(extractor, some, layers, client=two, progress=False)
    assert_same(here, there)
    assert here.weights == there.weights


@pytest.mark.posix
@pytest.mark.slow
@pytest.mark.usefixtures("_small_shards")
def test_a_worker_killed_midway(two: Any, folder: Path) -> None:
    extractor = exact_extractor()
    pids = sorted(two.run(os.getpid).values())
    killed: list[int] = []

    def kill(done: int, _: object) -> None:
        if done > COUNT // 3 and not killed:
            killed.append(done)
            os.kill(pids[0], signal.SIGKILL)

    there = top_activations(extractor, folder, client=two, progress=kill)
    assert killed
    assert killed[0] < 2 * COUNT / 3
    assert_same(there, top_activations(extractor, folder, progress=False))
    two.wait_for_workers(1, timeout=60)
    assert pids[0] not in two.run(os.getpid).values()
