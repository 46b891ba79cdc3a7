"""What is aimed at, as ratios of two figures of one run wherever machines differ."""

from __future__ import annotations

from dataclasses import dataclass

MODES = ("channel", "grid", "max", "mean", "argmax", "composite", "rgb", "rainbow")

# The names of groups and lines, which benchmarks, targets and references share.
FORWARD = "forward pass, 224 × 224, all 21 outputs"
NETWORK = "vgg_widget: the network alone"
ONNX = "ONNX Runtime"
LOOP = "one Keras sub-model a layer, eager"
RETRACES = "graphs traced anew for four more sizes"
DIFFERENCE = "largest difference from plain Keras, relative"
FIRST = "first call, in a fresh process"
START = "start"
EXPLORERS = "memory of explorers, 224 × 224"
STREAM = "memory of stream(), 200 images of 224 × 224"
LARGE = "memory at 1024 × 1024"
PIXELS = "cost by pixels"
IMAGES = "cost by images, 224 × 224"
SET = "a set of images, 224 × 224, all 21 layers"
BARE = "the bare network, batches of 8"
SHARD = "a shard, from JPEG files"
BESIDE = "processor time beside the network, of the network's"
WORKERS = "a set of images, Dask workers on this machine"
MERGING = "merging a set of images"
THOUSAND = "1,000 shards"
OURS, STOCK, IMAGE, RAW = "explorer", "stock idiom", "Image widget", "raw pixels"


def keys(mode: str, comms: str = "") -> str:
    """Name the group of key → new pixels in a mode."""
    return f"key → new pixels: {mode}{comms}"


def drag(comms: str = "") -> str:
    """Name the group of the slider's drag."""
    return f"3 s drag at 60 events/s{comms}"


GRID_BLOCK1 = "grid of block1"
SUBSHELL = ", comms on a subshell"


@dataclass(frozen=True)
class Target:
    """A limit for one figure.

    Parameters
    ----------
    group, name : str
        Which figure.
    limit : float
        What it must not exceed; with `at_least`, not fall below.
    of : (str, str), optional
        Group and name of the figure that it is divided by first.
    at_least : bool
        Whether more is better.
    aim : float, optional
        What would be better still.
    """

    group: str
    name: str
    limit: float
    of: tuple[str, str] | None = None
    at_least: bool = False
    aim: float | None = None


def _redraw(mode: str, comms: str = "") -> tuple[Target, ...]:
    group = keys(mode, comms)
    if mode == GRID_BLOCK1:
        return (Target(group, OURS, 0.6, (group, STOCK)),)
    return (
        Target(group, OURS, 0.40, (group, STOCK), aim=0.25),
        Target(group, OURS, 2.5, (group, IMAGE), aim=1.5),
    )


def _drag(comms: str = "") -> tuple[Target, ...]:
    group = drag(comms)
    return (
        Target(group, f"{OURS}: frames", 12, at_least=True),
        Target(group, f"{OURS}: last event → last frame", 1.5, (keys("channel", comms), OURS)),
        Target(group, f"{OURS}: in the end the value's picture", 1, at_least=True),
    )


TARGETS: tuple[Target, ...] = (
    Target(FORWARD, NETWORK, 1.15, (FORWARD, ONNX)),
    Target(FORWARD, LOOP, 15, (FORWARD, NETWORK), at_least=True),
    Target(FORWARD, RETRACES, 0),
    Target(FORWARD, DIFFERENCE, 1e-4),
    Target(FIRST, "first", 3, (FIRST, "warm")),
    *(target for mode in (*MODES, GRID_BLOCK1) for target in _redraw(mode)),
    *_redraw("channel", SUBSHELL),
    *_drag(),
    *_drag(SUBSHELL),
    Target(START, "import vgg_widget, beyond matplotlib and ipywidgets", 0.15),
    *(
        Target(START, f"cell to first picture, {weights}", 1.5)
        for weights in ("random", "kmeans", "a Keras file")
    ),
    Target(START, "second explorer to its picture", 1.5, (START, "its forward pass")),
    Target(EXPLORERS, "peak of Jupyter's kernel, TensorFlow and one explorer", 1100),
    Target(EXPLORERS, "each further image", 1.1, (EXPLORERS, "activations of an image")),
    Target(
        EXPLORERS,
        "returned to the system by close(), an image",
        0.9,
        (EXPLORERS, "each further image"),
        at_least=True,
    ),
    Target(
        EXPLORERS,
        "each of as many again, after close()",
        0.1,
        (EXPLORERS, "each further image"),
    ),
    Target(STREAM, "after 200 images", 1.05, (STREAM, "after 50 images")),
    Target(LARGE, "peak of one explorer", 4000),
    Target(PIXELS, "896 × 896, a megapixel", 1.25, (PIXELS, "224 × 224, a megapixel")),
    Target(IMAGES, "100 images, each", 1.25, (IMAGES, "1 image, each")),
    Target(SET, SHARD, 0.9, (SET, BARE), at_least=True),
    Target(SET, BESIDE, 0.10),
)

REFERENCES: dict[str, str] = {
    FORWARD: NETWORK,
    FIRST: "warm",
    PIXELS: "224 × 224, a megapixel",
    IMAGES: "1 image, each",
    SET: BARE,
    WORKERS: "1 worker",
    "frames on the server": "stock idiom: step, drawn and sent",
    "encoding a frame": "RGBA PNG, level 6 (ipympl)",
    "512 channels in one picture": "512 axes",
    **{keys(mode): STOCK for mode in (*MODES, GRID_BLOCK1)},
    keys("channel", SUBSHELL): STOCK,
}
"""Which line of a group all its lines are divided by."""
