# %% [markdown]
# # What a convolutional network sees in a photograph
#
# In this assignment you look at the feature maps of VGG19 with `vgg_widget`, and compute by hand
# what its figures show. There are eight tasks, 20 points together.
#
# **How to work.** Run the cells from top to bottom. Replace `YOUR CODE HERE` or `...` by your
# answer; for the last task, write text. The cell below an answer checks it: if it runs without an
# error, the first part is right. Grading runs more checks of each task, with other numbers than
# those that you see. Any correct way of computing an answer counts; small rounding differences do
# not matter. Before you hand in, restart the kernel and run everything once more.
#
# **Which network.** The filters used here were learned without labels from six photographs
# (`"kmeans"`), so everybody gets the same numbers without internet. Layer names and shapes are
# those of the VGG19 trained on ImageNet; everything you compute would be computed in the same way
# there.

# %% role="given"
import matplotlib.pyplot as plt
import numpy as np

from vgg_widget import FeatureExtractor, LayerExplorer, plot, sample_image

photograph = sample_image()
extractor = FeatureExtractor("kmeans", size=(160, 128))
activations = extractor(photograph)

figure, axes = plt.subplots(figsize=(3.2, 4), layout="constrained")
axes.set(title="what the network sees", xlabel="column (pixels)", ylabel="row (pixels)")
picture = axes.imshow(activations.image)

# %% [markdown]
# `activations` holds the feature maps of every layer. `activations["block3_conv1"]` is a NumPy
# array of shape (rows, columns, channels), after the ReLU.

# %% role="given"
for layer in activations.layers:
    print(f"{layer.name:14}{layer.torch_name:14}{activations[layer.name].shape}")

# %% [markdown] task="q1"
# ## 1. Set the explorer (3 points)
#
# Below is an explorer of the photograph. Every control is also a trait that code can set:
# `explorer.layer = "block3_conv1"` moves the control.
#
# Set the traits so that the explorer shows **the largest value over all channels** of layer
# **`block2_conv2`**, in the colormap **`viridis`**, on the scale **`channel`** (from 0 to the
# largest displayed value, without a gamma).
#
# Then read the values: `explorer.rendering.values` holds the numbers that the colours stand for.
# Assign
#
# - `brightest`: the largest of them,
# - `brightest_at`: its location in the map, as `(row, column)`.

# %% role="given" task="q1"
explorer = LayerExplorer(photograph, extractor=extractor)
explorer

# %% role="solution" task="q1"
# BEGIN SOLUTION
explorer.layer = "block2_conv2"
explorer.mode = "max"
explorer.cmap = "viridis"
explorer.scale = "channel"

values = explorer.rendering.values
brightest = values.max()
brightest_at = np.unravel_index(values.argmax(), values.shape)
# END SOLUTION


# %% role="public" task="q1" points=1
def check_layer_and_mode(explorer):
    assert explorer.layer == "block2_conv2", f"the explorer shows layer {explorer.layer}"
    assert explorer.mode == "max", f"the explorer is in mode {explorer.mode}"


check_layer_and_mode(explorer)


# %% role="hidden" task="q1" points=1
def check_colours(explorer):
    import matplotlib as mpl
    import numpy as np

    assert explorer.cmap == "viridis", f"the colormap is {explorer.cmap}"
    assert explorer.scale == "channel", f"the scale is {explorer.scale}"
    largest = np.sort(explorer.activations["block2_conv2"], axis=-1)[..., -1]
    expected = mpl.colormaps["viridis"](largest / largest.max())
    difference = np.abs(explorer.rendering.rgba / 255 - expected).max()
    assert difference < 0.02, "the displayed map is not the expected one"


check_colours(explorer)


# %% role="hidden" task="q1" points=1
def check_brightest(activations, brightest, brightest_at):
    import numpy as np

    maps = activations["block2_conv2"]
    largest = float(np.sort(maps, axis=None)[-1])
    assert np.isclose(float(brightest), largest, rtol=1e-3), "brightest is not the largest value"
    row, column = (int(index) for index in brightest_at)
    there = float(np.sort(maps[row, column])[-1])
    assert np.isclose(there, largest, rtol=1e-3), "brightest_at is not where the largest value is"


check_brightest(activations, brightest, brightest_at)

# %% [markdown] task="q2"
# ## 2. The largest over channels, by hand (2 points)
#
# The mode `max` of task 1 is one line of NumPy. Write it as a function that takes maps of shape
# (rows, columns, channels) and returns the largest value over the channels at each location, an
# array of shape (rows, columns). Use only NumPy.


# %% role="solution" task="q2"
def max_over_channels(maps):
    """Return the largest value over the channels at each location."""
    # BEGIN SOLUTION
    return maps.max(axis=-1)
    # END SOLUTION


# %% role="public" task="q2" points=1
def check_maximum_of_two_locations(max_over_channels):
    import numpy as np

    maps = np.array([[[1.0, 5.0, 2.0], [0.0, 0.0, 3.0]]])
    largest = np.asarray(max_over_channels(maps))
    assert largest.shape == (1, 2), f"the shape should be (1, 2), not {largest.shape}"
    assert np.allclose(largest, [[5.0, 3.0]]), f"it should be [[5, 3]], not {largest.tolist()}"


check_maximum_of_two_locations(max_over_channels)


# %% role="hidden" task="q2" points=1
def check_maximum_of_any_maps(max_over_channels):
    import numpy as np

    # Before a ReLU all channels can be negative.
    maps = np.random.default_rng(3).normal(-2.0, 1.0, (4, 7, 9)).astype(np.float32)
    largest = np.asarray(max_over_channels(maps))
    assert largest.shape == (4, 7), f"the shape should be (4, 7), not {largest.shape}"
    expected = np.sort(maps, axis=2)[:, :, 8]
    assert np.allclose(largest, expected, rtol=1e-4, atol=1e-5), "some values are wrong"


check_maximum_of_any_maps(max_over_channels)

# %% [markdown] task="q3"
# ## 3. A composite, by hand (3 points)
#
# The mode `composite` blends several channels. On the scale `channel` it **divides each chosen
# channel by its own maximum**, colours it with the colormap, and **averages** the colours of all
# chosen channels.
#
# Write it as a function. `maps` has shape (rows, columns, channels) and no negative values,
# `channels` are the numbers of the chosen channels, and `cmap` is a matplotlib colormap: for an
# array of numbers from 0 to 1, `cmap(x)` returns an array with a last axis of red, green, blue and
# opacity, each from 0 to 1. Return red, green and blue from 0 to 1, shape (rows, columns, 3). Do
# not divide a channel that is 0 everywhere by its maximum: it stays 0.


# %% role="solution" task="q3"
def composite(maps, channels, cmap):
    """Return the average of the chosen channels' colours, shape (rows, columns, 3)."""
    # BEGIN SOLUTION
    colours = []
    for channel in channels:
        top = maps[..., channel].max()
        unit = maps[..., channel] / top if top > 0 else maps[..., channel]
        colours.append(cmap(unit)[..., :3])
    return np.mean(colours, axis=0)
    # END SOLUTION


# %% role="public" task="q3" points=1
def check_composite_of_two_channels(composite):
    import matplotlib as mpl
    import numpy as np

    # In grey the colour is the number itself: (1 + 0.5) / 2 and (0.5 + 1) / 2.
    maps = np.array([[[10.0, 1.0], [5.0, 2.0]]])
    colours = np.asarray(composite(maps, (0, 1), mpl.colormaps["gray"]))
    assert colours.shape == (1, 2, 3), f"the shape should be (1, 2, 3), not {colours.shape}"
    assert np.allclose(colours, 0.75, atol=0.01), f"all should be 0.75, not {colours.tolist()}"


check_composite_of_two_channels(composite)


# %% role="hidden" task="q3" points=1
def check_composite_of_a_layer(activations, composite):
    import matplotlib as mpl
    import numpy as np

    from vgg_widget import render

    for layer, channels, name in (
        ("block2_conv1", (3, 17, 42, 5), "viridis"),
        ("block4_conv3", (7, 400), "magma"),
    ):
        colours = np.asarray(composite(activations[layer], channels, mpl.colormaps[name]))
        how = {"channels": channels, "cmap": name, "scale": "channel"}
        picture = render(activations, layer, "composite", **how)
        expected = picture.rgba[..., :3] / 255
        assert colours.shape == expected.shape, f"the shape is {colours.shape}"
        # Rounding may account for a few of the 256 colour levels.
        assert np.abs(colours - expected).max() < 0.02, f"the composite of {layer} is wrong"


check_composite_of_a_layer(activations, composite)


# %% role="hidden" task="q3" points=1
def check_composite_with_a_dead_channel(composite):
    import warnings

    import matplotlib as mpl
    import numpy as np

    maps = np.zeros((2, 2, 3), np.float32)
    maps[..., 2] = [[0, 1], [2, 4]]
    cmap = mpl.colormaps["viridis"]
    with warnings.catch_warnings():
        # Dividing 0 by 0 and repairing the result afterwards is also right.
        warnings.simplefilter("ignore")
        colours = np.asarray(composite(maps, (0, 2), cmap))
    lowest, highest = np.array(cmap(0.0)[:3]), np.array(cmap(1.0)[:3])
    assert np.allclose(colours[0, 0], lowest, atol=0.01), "0 should have the lowest colour"
    assert np.allclose(colours[1, 1], (lowest + highest) / 2, atol=0.01), "0 should stay 0"


check_composite_with_a_dead_channel(composite)

# %% [markdown] task="q4"
# ## 4. The strongest channel at an object (2 points)
#
# Which channel responds most strongly to the gold button of the uniform, at row 156, column 61 of
# the image above? A unit of a layer with stride *s* stands for *s* × *s* pixels, so the pixel lies
# in row 156 // *s* and column 61 // *s* of its map. `activations.info(layer).stride` is the stride.
#
# Write a function that takes a layer and a pixel `(row, column)` of the image, and returns the
# number of the channel with the largest value there.


# %% role="solution" task="q4"
def strongest_channel(activations, layer, pixel):
    """Return the channel with the largest value at a pixel (row, column) of the image."""
    # BEGIN SOLUTION
    row, column = pixel
    stride = activations.info(layer).stride
    return int(np.argmax(activations.at(layer, row // stride, column // stride)))
    # END SOLUTION


# %% role="public" task="q4" points=1
def check_button(activations, strongest_channel):
    channel = int(strongest_channel(activations, "block3_conv1", (156, 61)))
    there = activations["block3_conv1"][39, 15]
    assert 0 <= channel < 256, f"block3_conv1 has no channel {channel}"
    assert there[channel] > 0.999 * there.max(), f"channel {channel} is not the strongest there"


check_button(activations, strongest_channel)


# %% role="hidden" task="q4" points=1
def check_other_objects(activations, strongest_channel):
    # The badge on the cap, the ribbons, a star, and the last pixel.
    for layer, stride, pixel in (
        ("block1_conv2", 1, (16, 64)),
        ("block2_conv1", 2, (136, 98)),
        ("block3_conv4", 4, (24, 17)),
        ("block4_conv2", 8, (136, 98)),
        ("block5_conv1", 16, (159, 127)),
    ):
        there = activations[layer][pixel[0] // stride, pixel[1] // stride]
        channel = int(strongest_channel(activations, layer, pixel))
        strongest = there[channel] > 0.999 * there.max()
        assert strongest, f"{layer} at {pixel}: another channel is stronger"


check_other_objects(activations, strongest_channel)

# %% [markdown] task="q5"
# ## 5. How much of the image one unit sees (2 points)
#
# A unit of a deep layer sees a square of pixels, its **receptive field**. Its side follows from the
# layers in between. Start at one pixel with *side* = 1 and *jump* = 1 (pixels from one unit to the
# next). A layer with kernel side *k* and stride *s* changes them as follows:
#
# $$\text{side} \leftarrow \text{side} + (k - 1) \cdot \text{jump}, \qquad
# \text{jump} \leftarrow s \cdot \text{jump}$$
#
# (Dumoulin & Visin, *A guide to convolution arithmetic for deep learning*, arXiv:1603.07285).
# VGG19's convolutions have kernel 3 and stride 1, its pools kernel 2 and stride 2.
#
# Write a function that takes a list of `(kernel, stride)` pairs, ordered from the image inwards,
# and returns the side.


# %% role="solution" task="q5"
def receptive_field(steps):
    """Return the side in pixels of one unit's receptive field, for layers of (kernel, stride)."""
    # BEGIN SOLUTION
    side, jump = 1, 1
    for kernel, stride in steps:
        side += (kernel - 1) * jump
        jump *= stride
    return side
    # END SOLUTION


# %% role="public" task="q5" points=1
def check_two_convolutions(receptive_field):
    assert receptive_field([(3, 1)]) == 3, "block1_conv1 sees 3 pixels"
    assert receptive_field([(3, 1), (3, 1)]) == 5, "block1_conv2 sees 5 pixels"


check_two_convolutions(receptive_field)


# %% role="hidden" task="q5" points=1
def check_every_layer(activations, receptive_field):
    steps = []
    for layer in activations.layers:
        steps.append((2, 2) if layer.kind == "pool" else (3, 1))
        side = receptive_field(list(steps))
        assert side == layer.receptive_field, f"{layer.name} sees {layer.receptive_field} pixels"
    # The first layers of ResNet: 7 with stride 2, a pool of 3 with stride 2, and 3 with stride 1.
    assert receptive_field([(7, 2), (3, 2), (3, 1)]) == 19, "7/2, 3/2, 3/1 see 19 pixels"


check_every_layer(activations, receptive_field)

# %% [markdown] task="q6"
# ## 6. One layer, two names, before and after the ReLU (3 points)
#
# Keras's `block3_conv1` is **after** the ReLU. torchvision numbers convolutions and ReLUs
# separately: there the convolution has its own name, `features.` and a number, and holds the values
# **before** the ReLU. Both names work in `activations[...]`. The list at the beginning of this
# notebook helps.
#
# Give torchvision's name for the convolution that Keras calls `block3_conv1`. Then write a function
# that returns the share (from 0 to 1) of a layer's values that its ReLU sets to 0: the number of
# values that are not above 0, divided by the number of all values.


# %% role="solution" task="q6"
def silenced(before):
    """Return the share of the values in `before` (before the ReLU) that the ReLU sets to 0."""
    # BEGIN SOLUTION
    return np.mean(before <= 0)
    # END SOLUTION


# torchvision's name, a string:
# BEGIN SOLUTION
torch_name = "features.10"
# END SOLUTION


# %% role="public" task="q6" points=1
def check_share_of_four(silenced):
    import numpy as np

    share = float(silenced(np.array([[[-1.0, 2.0], [0.0, -3.0]]])))
    assert np.isclose(share, 0.75), f"three of four are not above 0: 0.75, not {share}"


check_share_of_four(silenced)


# %% role="hidden" task="q6" points=1
def check_share_of_a_layer(activations, silenced):
    import numpy as np

    for before, after in (("features.0", "block1_conv1"), ("features.28", "block5_conv1")):
        expected = 1 - np.count_nonzero(activations[after]) / activations[after].size
        share = float(silenced(activations[before]))
        assert np.isclose(share, expected, atol=1e-4), f"{before}: {expected}, not {share}"


check_share_of_a_layer(activations, silenced)


# %% role="hidden" task="q6" points=1
def check_name(activations, torch_name):
    import numpy as np

    before, after = activations[torch_name], activations["block3_conv1"]
    assert (before < 0).any(), f"{torch_name} has no negative value: it is after a ReLU"
    same = before.shape == after.shape and np.allclose(np.where(before > 0, before, 0), after)
    assert same, f"{torch_name} is another layer"


check_name(activations, torch_name)

# %% [markdown] task="q7"
# ## 7. Dead channels (2 points)
#
# A channel that is 0 at every location is called *dead*. On the photograph no channel is dead. The
# next cell runs the same network on an image that is grey all over:

# %% role="given" task="q7"
grey = extractor(np.full((160, 128, 3), 128, np.uint8))

# %% [markdown] task="q7"
# Write a function that takes maps after the ReLU, of shape (rows, columns, channels), and returns
# the numbers of the dead channels, in ascending order.


# %% role="solution" task="q7"
def dead_channels(maps):
    """Return the numbers of the channels that are 0 everywhere, in ascending order."""
    # BEGIN SOLUTION
    return np.flatnonzero(maps.max(axis=(0, 1)) == 0)
    # END SOLUTION


# %% role="public" task="q7" points=1
def check_three_channels(dead_channels):
    import numpy as np

    maps = np.zeros((2, 2, 3))
    maps[..., 1] = [[1, 2], [3, 4]]
    found = [int(channel) for channel in dead_channels(maps)]
    assert found == [0, 2], f"channels 0 and 2 are dead, not {found}"


check_three_channels(dead_channels)


# %% role="hidden" task="q7" points=1
def check_layers(activations, grey, dead_channels):
    import numpy as np

    for of, layer in (
        (grey, "block1_conv1"),
        (grey, "block5_conv1"),
        (activations, "block1_conv1"),
    ):
        alive = {int(channel) for channel in np.nonzero(of[layer])[2]}
        found = [int(channel) for channel in dead_channels(of[layer])]
        assert found == [c for c in range(of[layer].shape[2]) if c not in alive], layer
    # A channel that is weakly active at a single location is not dead.
    faint = np.zeros((30, 20, 2), np.float32)
    faint[29, 0, 0] = 1e-4
    assert [int(channel) for channel in dead_channels(faint)] == [1], "channel 0 is not dead"


check_layers(activations, grey, dead_channels)

# %% [markdown] task="q8"
# ## 8. Explain it (3 points)
#
# Here is one channel of `block1_conv1` on both images.

# %% role="given" task="q8"
channel = 5
figure, sides = plt.subplots(1, 2, figsize=(7, 4), layout="constrained")
for side, of, name in zip(sides, (activations, grey), ("photograph", "grey"), strict=True):
    plot(of, "block1_conv1", channel=channel, ax=side)
    side.set_xlabel(name)

# %% [markdown] task="q8"
# In four to six sentences:
#
# 1. Why is it 0 everywhere on the grey image, though its filter is the same?
# 2. Is the channel useless? How could you find out?
# 3. Feature maps are often scaled so that each map's own maximum gets the brightest colour. What
#    would that show for a dead channel, and for one whose values are all below a millionth?

# %% [markdown] role="answer" task="q8" points=3
# *One point for each of the three answers; a full answer says something like this.*
#
# 1. A unit computes a weighted sum of the pixels it sees plus a bias, and the ReLU sets negative
#    values to 0. On the grey image all pixels are equal, so every unit away from the border has the
#    same sum: the colour times the sum of the weights. The weights of a filter that looks for
#    differences (edges, opposite colours) sum to about 0. The bias remains, and it is negative
#    here: a difference must be large enough to count. The border of the image, with zeros beyond
#    it, is an edge that is too weak for this filter, or in another direction.
# 2. No: a channel is dead only *on an image*. On the photograph it is active wherever its pattern
#    occurs. To find out, compute it on many different images; only a channel that is 0 on all
#    of them does nothing.
# 3. For the dead channel, scaling would divide 0 by 0. The other channel, which may contain only
#    rounding errors, would look as lively as the strongest one. So the range belongs beside the
#    figure, and a dead channel is drawn in one colour.
