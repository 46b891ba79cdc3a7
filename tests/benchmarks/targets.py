"""The targets: ratios of two figures of one run wherever machines differ."""

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
ATTRIBUTION = "attribution of a block5_conv4 unit, 224 × 224"
UNIT = "attribution of a block3_conv1 unit, 224 × 224"
STEP = "one step of a picture for a channel"
BARE_STEP = "the bare sub-network, there and back"
MADE = "a picture for a channel"
MADE_MEMORY = "peak of a process, block5_conv1, four channels, 224 px"
LEFT = "what a layer leaves, 96 × 96, k-means filters"
WITH_PRIOR = "200 steps with the prior"
PLAIN_ADAM = "300 bare steps"
GROUPS = "six groups of block4_conv1, 1568 places × 512 channels"
SKLEARN = "scikit-learn's NMF"
ONCE = "one forward pass, all 21 outputs"
PLAIN = "plain TensorFlow, one tape"
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
FILE = "the explorer as one file, 224 × 224"
OURS, STOCK, IMAGE, RAW = "explorer", "stock idiom", "Image widget", "raw pixels"
ONE_FRAME = "a whole frame of the explorer's"

GRID_BLOCK1 = "grid of block1"
SUBSHELL = ", comms on a subshell"
FAR = ", far"
"""Through a relay: a round trip of 150 ms, and 20 Mbit/s each way."""


# Names of the groups of `bench_browser.py`; `where` is "", `SUBSHELL` or `FAR`.


def keys(mode: str, where: str = "") -> str:
    """Return the name of the group for key → new pixels in a mode."""
    return f"key → new pixels: {mode}{where}"


def hover(where: str = "") -> str:
    """Return the name of the group for the mouse's move to another unit."""
    return f"mouse on another unit → frame, and value{where}"


def layers(where: str = "") -> str:
    """Return the name of the group for a step to a layer whose maps the page has fetched."""
    return f"another layer, maps on the page → new pixels{where}"


def unprepared(where: str = "") -> str:
    """Return the name of the group for a step while the page has no maps for it yet."""
    return f"key → new pixels: channel, maps not on the page yet{where}"


def drag(where: str = "") -> str:
    """Return the name of the group for dragging the slider."""
    return f"3 s drag at 60 events/s{where}"


def cell(where: str = "") -> str:
    """Return the name of the group for a cell that shows a new drawer."""
    return f"cell → first picture, network built{where}"


@dataclass(frozen=True)
class Target:
    """A limit for one figure.

    Parameters
    ----------
    group, name : str
        The figure's group and name.
    limit : float
        The largest allowed value; with `at_least`, the smallest.
    of : (str, str), optional
        Group and name of a second figure. The limit is then for the ratio of the two.
    at_least : bool
        Whether more is better.
    aim : float, optional
        A stricter limit to aim for.
    """

    group: str
    name: str
    limit: float
    of: tuple[str, str] | None = None
    at_least: bool = False
    aim: float | None = None


def _redraw(mode: str) -> tuple[Target, ...]:
    group = keys(mode)
    if mode == GRID_BLOCK1:
        return (Target(group, OURS, 0.6, (group, STOCK)),)
    return (
        Target(group, OURS, 0.40, (group, STOCK), aim=0.25),
        Target(group, OURS, 2.5, (group, IMAGE), aim=1.5),
    )


def _page(where: str) -> tuple[Target, ...]:
    """Return the targets of a page that paints channels itself; times are in milliseconds."""
    steps, dragged, unready = keys("channel", where), drag(where), unprepared(where)
    far = where == FAR
    return (
        Target(steps, OURS, 16),
        *([Target(steps, f"{OURS}, the worst", 50)] if far else []),
        Target(hover(where), f"{OURS}: frame", 16),
        Target(hover(where), f"{OURS}: value", 16),
        Target(layers(where), OURS, 30),
        Target(layers(where), f"{OURS}, by a key", 30),
        Target(unready, OURS, 0.5, (unready, STOCK))
        if far
        else Target(unready, OURS, 0.40, (unready, STOCK), aim=0.25),
        Target(dragged, f"{OURS}: pictures", 40, at_least=True),
        Target(dragged, f"{OURS}: last event → last picture", 16),
        Target(dragged, f"{OURS}: in the end the value's picture", 1, at_least=True),
        Target(dragged, f"{OURS}: bytes from the kernel", 2, (dragged, ONE_FRAME)),
    )


TARGETS: tuple[Target, ...] = (
    Target(FORWARD, NETWORK, 1.15, (FORWARD, ONNX)),
    Target(FORWARD, LOOP, 15, (FORWARD, NETWORK), at_least=True),
    Target(FORWARD, RETRACES, 0),
    Target(FORWARD, DIFFERENCE, 1e-4),
    *(
        Target(ATTRIBUTION, name, limit, (ATTRIBUTION, ONCE))
        for name, limit in (
            ("gradient", 3),
            ("grad_cam", 3),
            ("smoothgrad, 25", 45),
            ("integrated gradients, 50", 90),
            ("occlusion", 60),
        )
    ),
    *(
        Target(ATTRIBUTION, name, 1.1, (ATTRIBUTION, f"{name}: {PLAIN}"))
        for name in ("gradient", "smoothgrad, 25")
    ),
    *(
        Target(STEP, name, 1.15, (STEP, f"{name}: {BARE_STEP}"))
        for name in ("block3_conv1, 96 px", "block4_conv1, 160 px", "block5_conv1, 224 px")
    ),
    Target(MADE, "block3_conv1, 96 px, 128 steps", 10),
    Target(MADE, "block5_conv1, 224 px, 256 steps", 180),
    Target(MADE, MADE_MEMORY, 1500),
    # The limits are what 300 plain steps of Adam reach: errors of 0.21 and 0.20, 71 and 87 levels.
    *(
        target
        for layer, error, levels in (("block2_conv2", 0.21, 71), ("block3_conv1", 0.20, 87))
        for target in (
            Target(LEFT, f"{layer}: {WITH_PRIOR}", 1, (LEFT, f"{layer}: {PLAIN_ADAM}")),
            Target(LEFT, f"{layer}: error at the layer", error),
            Target(LEFT, f"{layer}: difference in pixels", levels),
        )
    ),
    Target(GROUPS, "vgg_widget", 0.5),
    Target(FIRST, "first", 3, (FIRST, "warm")),
    *(target for mode in (*MODES[1:], GRID_BLOCK1) for target in _redraw(mode)),
    *(target for where in ("", SUBSHELL, FAR) for target in _page(where)),
    Target(FILE, "written, all layers", 3),
    Target(FILE, "size, all layers", 10),
    Target(FILE, "size, one layer of each block", 4),
    Target(FILE, "opened → first picture", 0.5),
    Target(FILE, "key → another channel", 0.016),
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

REFERENCES: dict[str, tuple[str, ...]] = {
    FORWARD: (NETWORK,),
    ATTRIBUTION: (ONCE,),
    UNIT: (ONCE,),
    GROUPS: (SKLEARN,),
    FIRST: ("warm",),
    PIXELS: ("224 × 224, a megapixel",),
    IMAGES: ("1 image, each",),
    SET: (BARE,),
    WORKERS: ("1 worker",),
    "frames on the server": ("stock idiom: step, drawn and sent",),
    "encoding a frame": ("RGBA PNG, level 6 (ipympl)",),
    "512 channels in one picture": ("512 axes",),
    **{keys(mode): (STOCK, IMAGE) for mode in (*MODES, GRID_BLOCK1)},
    **{
        group: (STOCK, IMAGE)
        for where in ("", SUBSHELL, FAR)
        for group in (
            keys("channel", where),
            *(name(where) for name in (hover, layers, unprepared, drag, cell)),
        )
    },
}
"""The lines of a group that the ratios of its lines refer to.

In a group with several lines for each drawer, ``"stock idiom"`` stands for the line of the same
kind, such as ``"stock idiom: pictures"``.
"""
