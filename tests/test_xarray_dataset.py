"""`to_xarray`: the same numbers, with coordinates in input pixels."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import xarray as xr

from vgg_widget import Activations, LayerInfo
from vgg_widget.provenance import Provenance


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
    array = own["base/attention"]
    assert array.attrs == {"weights": "mine", "kind": "attention", "stride": 4}
    assert array["base/attention_row"].values.tolist() == [1.5, 5.5, 9.5]
    assert "unit's place" in array["base/attention_row"].attrs["long_name"]
    assert own.attrs == {"weights": "mine", "image": "cat.jpg"}


def test_it_cannot_change_the_activations(activations: Activations) -> None:
    with pytest.raises(ValueError, match="read-only"):
        activations.to_xarray()["block5_pool"].values[0, 0, 0] = 1


def test_it_is_made_of_what_files_can_hold(activations: Activations) -> None:
    dataset = activations.to_xarray()[["block5_conv1", "block5_pool"]]
    again = xr.Dataset.from_dict(json.loads(json.dumps(dataset.to_dict())))
    assert [again[name].attrs for name in again] == [dataset[name].attrs for name in dataset]
    xr.testing.assert_allclose(again, dataset)


def test_without_xarray_it_says_what_to_install(
    activations: Activations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(ImportError, match=r"needs xarray.*pip install 'vgg-widget\[xarray\]'\.$"):
        activations.to_xarray()
