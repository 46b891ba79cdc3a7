"""Compare `attribute` with Captum on the same weights in PyTorch: ``make check-attribution``.

Each printed line is for one method and one unit. It gives the norm of the difference between the
two maps, divided by the norm of Captum's map, and the limit. Both compute in float32 but in another
order, so a ReLU or a pool may go either way if its input is within rounding error of a kink. Among
the fifty images on the path of integrated gradients, and among the thousands of units of a deep
layer, some are: their limits are higher.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from itertools import chain, pairwise
from typing import Any
from unittest import mock

# oneDNN's fast convolutions have a hundred times the rounding error, so that more units cross a
# kink. TensorFlow reads the variable when it is imported.
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"

import numpy as np
import numpy.typing as npt
import torch
from captum.attr import (
    InputXGradient,
    IntegratedGradients,
    LayerAttribution,
    LayerGradCam,
    NoiseTunnel,
    Occlusion,
    Saliency,
)

from tests.torch_networks import features_of
from vgg_widget import Activations, FeatureExtractor, sample_image
from vgg_widget.gradients import Attribution, attribute, class_map
from vgg_widget.predictions import Predictor
from vgg_widget.weights import Classifier

Location = tuple[int, int] | None
# Method, unit, relative distance, and the limit of the distance.
Line = tuple[str, str, float, float]

# A layer's name, its number in PyTorch, a location in its map or None for the map's sum, and the
# side of the squares for occlusion. Captum's squares begin at the image's corner, `attribute`'s at
# the corner of the unit's receptive field. So the side must divide that corner's coordinates.
UNITS: tuple[tuple[str, int, Location, int], ...] = (
    ("features.2", 2, (26, 26), 4),
    ("block2_conv2", 8, (12, 15), 6),
    ("features.10", 10, (7, 7), 6),
    ("features.10", 10, (0, 10), 6),
    ("block3_pool", 18, (5, 5), 9),
    ("block2_pool", 9, None, 15),
    ("features.28", 28, (2, 2), 16),
)
SHALLOW, DEEP = 1e-4, 1e-2
# Some of the fifty images on a path have a unit at a kink.
ON_A_PATH = 5e-3
DEEP_FROM = 19
SAMPLES = 50
GREY = 128.0


class Network(torch.nn.Module):
    """Some layers of VGG19 on RGB in 0–255, followed by a function of their maps."""

    def __init__(self, features: Any, end: Any) -> None:
        super().__init__()
        self.features, self.end = features, end
        self.mean = torch.tensor([103.939, 116.779, 123.68]).view(3, 1, 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.end(self.features(pixels.flip(1) - self.mean))
        return found


def batched(picture: npt.NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(picture.transpose(2, 0, 1)[np.newaxis].astype(np.float32))


def distance(found: Attribution, captum: torch.Tensor) -> float:
    """Return a map's relative distance to Captum's, summed over colours, inside the map's box."""
    top, left, bottom, right = found.box
    expected = captum.detach().numpy()[0].astype(np.float64).sum(axis=0)
    here, there = (one[top:bottom, left:right] for one in (found.values, expected))
    return float(np.linalg.norm(here - there) / np.linalg.norm(there))


def of_units(extractor: FeatureExtractor, activations: Activations) -> Iterator[Line]:
    features = features_of(extractor)
    pixels = batched(activations.image)
    for layer, number, location, side in UNITS:
        maps = activations[layer]
        spot = maps.sum(axis=(0, 1)) if location is None else maps[location]
        channel = int(spot.argmax())
        network = Network(
            features[: number + 1],
            lambda maps, place=location: (
                maps.sum(dim=(2, 3)) if place is None else maps[:, :, place[0], place[1]]
            ),
        )
        asked: Any = (extractor, activations, layer, channel, location)
        plain: Any = {"inputs": pixels.requires_grad_(), "target": channel}
        gradient = attribute(*asked)
        assert gradient.box[0] % side == gradient.box[1] % side == 0
        pairs = {
            "gradient": (gradient, Saliency(network).attribute(**plain, abs=False)),
            "gradient_x_input": (
                attribute(*asked, method="gradient_x_input"),
                InputXGradient(network).attribute(**plain),
            ),
            "smoothgrad, noise 0": (
                attribute(*asked, method="smoothgrad", samples=4, noise=0),
                NoiseTunnel(Saliency(network)).attribute(
                    **plain, abs=False, nt_type="smoothgrad", nt_samples=4, stdevs=0.0
                ),
            ),
            f"integrated_gradients, {SAMPLES}": (
                attribute(*asked, method="integrated_gradients", samples=SAMPLES),
                IntegratedGradients(network).attribute(
                    **plain, n_steps=SAMPLES, method="riemann_middle", internal_batch_size=4
                ),
            ),
            f"occlusion, {side} × {side}": (
                attribute(*asked, method="occlusion", window=side),
                # Captum gives each of the three colours the whole difference.
                Occlusion(network).attribute(
                    **plain,
                    sliding_window_shapes=(3, side, side),
                    strides=(3, side, side),
                    baselines=GREY,
                    perturbations_per_eval=8,
                )
                / 3,
            ),
        }
        place = "sum" if location is None else f"{location}"
        for method, (found, captum) in pairs.items():
            path = method.startswith("integrated") and number < DEEP_FROM
            allowed = ON_A_PATH if path else DEEP if number >= DEEP_FROM else SHALLOW
            yield method, f"{layer}, {channel}, {place}", distance(found, captum), allowed


def of_classes(extractor: FeatureExtractor) -> Iterator[Line]:
    """Yield the lines of Grad-CAM, with a random classifier of six classes."""
    generator = np.random.default_rng(0)
    layers = tuple(
        (
            (generator.standard_normal(pair) * np.sqrt(2 / pair[0])).astype(np.float32),
            generator.standard_normal(pair[1]).astype(np.float32),
        )
        for pair in pairwise([7 * 7 * 512, 20, 12, 6])
    )
    names = tuple((f"n{number}", f"class {number}") for number in range(6))
    predictor = Predictor(extractor, Classifier(layers, channels_first=True), names)
    dense: list[torch.nn.Module] = [torch.nn.Flatten()]
    for kernel, bias in layers:
        linear = torch.nn.Linear(*kernel.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(kernel.T.copy()))
            linear.bias.copy_(torch.from_numpy(bias))
        dense += [linear, torch.nn.ReLU()]
    network = Network(features_of(extractor), torch.nn.Sequential(*dense[:-1]))
    activations = extractor(sample_image()[:448:2, :448:2])
    pixels = batched(activations.image)
    for layer, number in (("block5_conv4", 35), ("features.34", 34), ("block4_conv4", 26)):
        for target in (0, 3):
            with mock.patch.object(class_map, "predictor_for", return_value=predictor):
                found = attribute(extractor, activations, layer, method="grad_cam", target=target)
            cam = LayerGradCam(network, network.features[number]).attribute(
                pixels, target=target, relu_attributions=True
            )
            whole = LayerAttribution.interpolate(cam, (224, 224), "bilinear")
            yield "grad_cam", f"{layer}, class {target}", distance(found, whole), DEEP


def main() -> int:
    lines: list[Line] = []
    for weights in ("kmeans", "random"):
        extractor = FeatureExtractor(weights, size=None)
        # 64×75 pixels: the width is no multiple of 32, so that pools drop columns.
        activations = extractor(sample_image()[60:380:5, 100:475:5])
        print(f"{extractor.weights.label}, {activations.image.shape[:2]} pixels", flush=True)
        for line in chain(of_units(extractor, activations), of_classes(extractor)):
            method, unit, off, allowed = line
            mark = "" if off <= allowed else "  TOO FAR"
            print(f"  {method:26} {unit:32} {off:.1e} of {allowed:.0e}{mark}", flush=True)
            lines.append(line)
    failed = [line for line in lines if not line[2] <= line[3]]
    print(f"{len(lines) - len(failed)} of {len(lines)} maps agree with Captum's")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
