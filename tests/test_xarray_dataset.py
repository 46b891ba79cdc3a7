"""`to_xarray`: the same numbers, with coordinates in input pixels."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from vgg_widget import Activations, FeatureExtractor, LayerInfo
from vgg_widget.support.provenance import Provenance


def test_every_layer_is_a_variable_of_its_maps(activations: Activations) -> None:
    dataset = activations.to_xarray()
    assert isinstance(dataset, xr.Dataset)
    assert list(dataset.data_vars) == list(activations)
    for name in activations:
        assert dataset[name].dims == tuple(
            f"{name}_{axis}" for axis in ("row", "column", "channel")
        )
        assert dataset[name].dtype == np.float32
        np.testing.assert_array_equal(dataset[name].values, activations[name])
    assert dataset.attrs == {"weights": activations.weights.label}


def test_coordinates_are_centres_in_input_pixels(activations: Activations) -> None:
    array = activations.to_xarray()["block4_conv2"]
    # Stride 8 from 3.5: an image of 64×75 pixels has 8×9 units.
    assert array["block4_conv2_row"].values.tolist() == [3.5 + 8 * row for row in range(8)]
    assert array["block4_conv2_column"].values.tolist() == [3.5 + 8 * row for row in range(9)]
    assert array["block4_conv2_channel"].values.tolist() == list(range(512))
    near = array.sel(block4_conv2_row=30, block4_conv2_column=41, method="nearest")
    np.testing.assert_array_equal(near.values, activations.at("block4_conv2", 3, 5))
    assert array["block4_conv2_row"].attrs["units"] == "pixel"


def test_attributes_say_what_is_known(activations: Activations) -> None:
    dataset = activations.to_xarray()
    assert dataset["block4_conv2"].attrs == {
        "layer": "block4_conv2",
        "weights": activations.weights.label,
        "kind": "conv",
        "torch_name": "features.21",
        "stride": 8,
        "receptive_field": 84,
    }
    layer = LayerInfo("base/attention", None, "attention", 2, 4)
    maps = {"base/attention": np.ones((3, 2, 2), np.float32)}
    image, weights = np.zeros((12, 8, 3), np.uint8), Provenance("model", "mine")
    own = Activations([layer], maps, image, weights, name="cat.jpg").to_xarray()
    array = own["base_attention"]
    assert array.attrs == {
        "layer": "base/attention",
        "weights": "mine",
        "kind": "attention",
        "stride": 4,
    }
    assert array["base_attention_row"].values.tolist() == [1.5, 5.5, 9.5]
    assert "unit's place" in array["base_attention_row"].attrs["long_name"]
    assert own.attrs == {"weights": "mine", "image": "cat.jpg"}


def test_it_cannot_change_the_activations(activations: Activations) -> None:
    with pytest.raises(ValueError, match="read-only"):
        activations.to_xarray()["block5_pool"].values[0, 0, 0] = 1


def test_it_goes_through_json(activations: Activations) -> None:
    dataset = activations.to_xarray()[["block5_conv1", "block5_pool"]]
    again = xr.Dataset.from_dict(json.loads(json.dumps(dataset.to_dict())))
    assert [again[name].attrs for name in again] == [dataset[name].attrs for name in dataset]
    xr.testing.assert_allclose(again, dataset)


NAMES = {
    "base/conv": "base_conv",
    "base/stem/conv#2": "base_stem_conv#2",
    "split[1]": "split[1]",
    # A layer with exactly this name keeps it, in any order.
    "a/b": "a_b_2",
    "a_b": "a_b",
    # The next number is taken, too.
    "c_d": "c_d",
    "c_d_2": "c_d_2",
    "c/d": "c_d_3",
    # The first layer's dimensions have the names of the others.
    "top": "top",
    "top_row": "top_row_2",
    "top/channel": "top_channel_2",
    "top_column": "top_column_2",
    # Characters that are not allowed at an end, and a name with two forms in Unicode.
    " conv": "_ conv",
    "conv ": "conv_",
    "#1": "_#1",
    "/": "_",
    "tête": "tête",
    "te\u0302te": "tête_2",
    "tab\there": "tab_here",
}


@pytest.mark.parametrize("engine", ["netcdf4", "h5netcdf"])
def test_a_netcdf_file_gives_it_back(tmp_path: Path, engine: Any) -> None:
    generator = np.random.default_rng(3)
    layers, maps = [], {}
    for count, name in enumerate(NAMES, start=1):
        field = None if count % 2 else 3
        layers.append(LayerInfo(name, None, "conv", count, 2, field, field and 1.0))
        maps[name] = generator.normal(size=(4, 5, count)).astype(np.float32)
    image, weights = np.zeros((8, 10, 3), np.uint8), Provenance("model", "model 'mine/own' – ä")
    own = Activations(layers, maps, image, weights, name="katzen/schön.jpg")
    dataset = own.to_xarray()
    assert {dataset[name].attrs["layer"]: name for name in dataset.data_vars} == NAMES
    dataset.to_netcdf(tmp_path / "maps.nc", engine=engine)
    with xr.open_dataset(tmp_path / "maps.nc", engine=engine) as again:
        xr.testing.assert_identical(again.load(), dataset)
        for name, variable in NAMES.items():
            array = again[variable]
            np.testing.assert_array_equal(array.values, maps[name])
            assert array.dims == tuple(
                f"{variable}_{axis}" for axis in ("row", "column", "channel")
            )
            assert array[f"{variable}_row"].values.tolist() == [
                own.info(name).field_center(row, 0)[0] for row in range(4)
            ]


@pytest.mark.parametrize("engine", ["netcdf4", "h5netcdf"])
def test_a_nested_model_and_vgg19_are_written(
    activations: Activations, photo: Any, tmp_path: Path, engine: Any
) -> None:
    import keras

    inner = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            keras.layers.Conv2D(2, 3, strides=2, name="conv"),
            keras.layers.Activation("relu", name="on"),
        ],
        name="base",
    )
    pixels = keras.Input((None, None, 3))
    model = keras.Model(pixels, keras.layers.MaxPooling2D(2, name="base_conv")(inner(pixels)))
    nested = FeatureExtractor(model=model, size=None)(photo)
    dataset = nested.to_xarray()
    assert list(dataset.data_vars) == ["base_conv_2", "base_on", "base_conv"]
    for made in (dataset, activations.to_xarray()[["block4_conv2", "block5_pool"]]):
        made.to_netcdf(tmp_path / "maps.nc", engine=engine)
        with xr.open_dataset(tmp_path / "maps.nc", engine=engine) as again:
            xr.testing.assert_identical(again.load(), made)
    np.testing.assert_array_equal(dataset["base_conv_2"].values, nested["base/conv"])
    np.testing.assert_array_equal(dataset["base_conv"].values, nested["base_conv"])


def test_without_xarray_it_says_what_to_install(
    activations: Activations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(ImportError, match=r"needs xarray.*pip install 'vgg-widget\[xarray\]'\.$"):
        activations.to_xarray()
