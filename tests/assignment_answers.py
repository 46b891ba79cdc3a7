"""Answers that students might hand in for `notebooks/assignment`, and their points by task.

An answer is the source of the task's cell. The points follow from the assignment's text. They are
counted by hand, not copied from a grader's output.
"""

from __future__ import annotations

Answers = dict[str, str]
Points = dict[str, int]

FULL: Points = {"q1": 3, "q2": 2, "q3": 3, "q4": 2, "q5": 2, "q6": 3, "q7": 2}
NONE: Points = dict.fromkeys(FULL, 0)

ESSAY_POINTS = 3
"""The points of q8, which is graded by hand."""

# All answers are right, and none is computed as in the instructor's version.
RIGHT: Answers = {
    "q1": """
explorer = LayerExplorer(
    photograph,
    extractor=extractor,
    layer="block2_conv2",
    mode="max",
    cmap="viridis",
    scale="channel",
)
maps = activations["block2_conv2"]
brightest = max(float(value) for value in maps.ravel())
brightest_at = [int(index) for index in np.argwhere(maps == maps.max())[0][:2]]
""",
    "q2": """
def max_over_channels(maps):
    largest = [[max(location.tolist()) for location in row] for row in maps]
    print("a line that was left in")
    return largest
""",
    "q3": """
def composite(maps, channels, cmap):
    chosen = maps[..., list(channels)].astype(float)
    unit = np.nan_to_num(chosen / chosen.max(axis=(0, 1)))
    return cmap(unit)[..., :3].sum(axis=2) / len(channels)
""",
    "q4": """
def strongest_channel(activations, layer, pixel):
    row, column = activations.info(layer).unit_at(*pixel, activations[layer].shape[:2])
    return activations.rank_at(layer, row, column)[0]
""",
    "q5": """
def receptive_field(steps):
    side = 1
    for kernel, stride in reversed(steps):
        side = (side - 1) * stride + kernel
    return side
""",
    "q6": """
def silenced(before):
    return 1 - (np.maximum(before, 0) > 0).sum() / before.size

torch_name = activations.before_relu("block3_conv1")
""",
    "q7": """
def dead_channels(maps):
    return [channel for channel in range(maps.shape[-1]) if not maps[..., channel].any()]
""",
    "q8": "Because every sum is negative, and the ReLU makes it 0.",
}

# One common mistake in each task.
MISTAKEN: Answers = {
    # The scale is not set.
    "q1": """
explorer.layer, explorer.mode, explorer.cmap = "block2_conv2", "max", "viridis"
brightest = explorer.rendering.values.max()
brightest_at = np.unravel_index(explorer.rendering.values.argmax(), explorer.rendering.values.shape)
""",
    # The mean instead of the maximum.
    "q2": "def max_over_channels(maps):\n    return maps.mean(axis=-1)",
    # All channels are divided by one maximum, which is right only if a single channel is alive.
    "q3": """
def composite(maps, channels, cmap):
    chosen = maps[..., list(channels)]
    return cmap(chosen / chosen.max())[..., :3].mean(axis=2)
""",
    # Row and column are swapped.
    "q4": """
def strongest_channel(activations, layer, pixel):
    stride = activations.info(layer).stride
    return activations.at(layer, pixel[1] // stride, pixel[0] // stride).argmax()
""",
    # Strides are ignored, which is right only before the first pool.
    "q5": "def receptive_field(steps):\n    return 1 + sum(kernel - 1 for kernel, stride in steps)",
    # The name is the ReLU's, not the convolution's.
    "q6": """
def silenced(before):
    return np.mean(before <= 0)

torch_name = "features.11"
""",
    # Finds channels that are 0 at any location, not at all of them.
    "q7": """
def dead_channels(maps):
    return np.flatnonzero(maps.min(axis=(0, 1)) == 0)
""",
    "q8": "It is broken.",
}
MISTAKEN_POINTS: Points = {"q1": 2, "q2": 0, "q3": 1, "q4": 0, "q5": 1, "q6": 2, "q7": 1}

# Answers that return only the values that the visible checks compare.
HARD_CODED: Answers = {
    "q1": """
explorer.layer = "block2_conv2"
explorer.mode = "max"
brightest, brightest_at = 1.0, (0, 0)
""",
    "q2": "def max_over_channels(maps):\n    return np.array([[5.0, 3.0]])",
    "q3": "def composite(maps, channels, cmap):\n    return np.full((1, 2, 3), 0.75)",
    "q4": """
BUTTON = int(activations["block3_conv1"][39, 15].argmax())

def strongest_channel(activations, layer, pixel):
    return BUTTON
""",
    "q5": "def receptive_field(steps):\n    return {1: 3, 2: 5}[len(steps)]",
    "q6": 'def silenced(before):\n    return 0.75\n\ntorch_name = "features.0"',
    "q7": "def dead_channels(maps):\n    return [0, 2]",
    "q8": "YOUR ANSWER HERE",
}
HARD_CODED_POINTS: Points = dict.fromkeys(FULL, 1)
