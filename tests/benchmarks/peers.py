"""The same 21 outputs from the same weights, by Keras in other ways and by other libraries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from vgg_widget.layers import VGG19_LAYERS
from vgg_widget.weights import Arrays

Floats = npt.NDArray[np.float32]
Pass = Callable[[Floats], list[Any]]
"""Takes preprocessed images (N, H, W, 3); returns one array for each layer."""


def arrays_of(model: Any) -> Arrays:
    """Return kernel (h, w, in, out) and bias of each convolution of a Keras model."""
    names = [info.name for info in VGG19_LAYERS if info.kind == "conv"]
    return {name: tuple(model.get_layer(name).get_weights()) for name in names}


def keras_at_once(model: Any) -> Pass:
    """Return a pass that calls the model, with one output for each layer, eagerly."""

    def run(inputs: Floats) -> list[Any]:
        return [output.numpy() for output in model(inputs, training=False)]

    return run


def keras_one_by_one(model: Any, *, predict: bool) -> Pass:
    """Return a pass that runs one model for each layer, as tutorials do.

    The models are built, and called once, before the clock starts.
    """
    import keras

    models = [keras.Model(model.input, model.get_layer(info.name).output) for info in VGG19_LAYERS]

    def run(inputs: Floats) -> list[Any]:
        if predict:
            return [one.predict(inputs, verbose=0) for one in models]
        return [one(inputs, training=False).numpy() for one in models]

    return run


def pytorch(arrays: Arrays) -> Pass:
    """Return a pass by PyTorch's functional convolutions; outputs are (N, C, H, W)."""
    import torch
    from torch.nn import functional

    tensors = {
        name: (torch.from_numpy(channels_first(kernel)), torch.from_numpy(bias.copy()))
        for name, (kernel, bias) in arrays.items()
    }

    def run(inputs: Floats) -> list[Any]:
        outputs = []
        with torch.inference_mode():
            x = torch.from_numpy(inputs).permute(0, 3, 1, 2).contiguous()
            for info in VGG19_LAYERS:
                if info.kind == "conv":
                    x = functional.relu(functional.conv2d(x, *tensors[info.name], padding=1))
                else:
                    x = functional.max_pool2d(x, 2)
                outputs.append(x)
        return outputs

    return run


def onnx_runtime(arrays: Arrays) -> Pass:
    """Return a pass by ONNX Runtime on the CPU, with its defaults; outputs are (N, C, H, W)."""
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_graph(arrays), providers=["CPUExecutionProvider"])

    def run(inputs: Floats) -> list[Any]:
        feed = {"image": np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))}
        return list(session.run(None, feed))

    return run


def openvino(arrays: Arrays) -> Pass:
    """Return a pass by OpenVINO on the same graph, in float32; outputs are (N, C, H, W)."""
    import openvino as ov

    core = ov.Core()
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(onnx_graph(arrays), b""), "CPU", settings)

    def run(inputs: Floats) -> list[Any]:
        found = compiled([np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))])
        return [found[output] for output in compiled.outputs]

    return run


def matrix_products() -> Callable[[], object]:
    """Return float32 matrix products with as many operations as all convolutions at 224×224."""
    import tensorflow as tf

    before, operations = 3, 0
    for info in VGG19_LAYERS:
        if info.kind == "conv":
            operations += 2 * 9 * before * info.channels * (224 // info.stride) ** 2
        before = info.channels
    side = 2048
    one, other = tf.random.normal((side, side)), tf.random.normal((side, side))

    def run() -> object:
        made = one
        for _ in range(round(operations / (2 * side**3))):
            made = tf.linalg.matmul(one, other)
        return made.numpy()

    return run


def onnx_graph(arrays: Arrays) -> bytes:
    """Return VGG19's convolutional part as an ONNX model with one output for each layer."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, initial, outputs, before = [], [], [], "image"
    for info in VGG19_LAYERS:
        if info.kind == "conv":
            kernel, bias = arrays[info.name]
            names = [f"{info.name}.kernel", f"{info.name}.bias"]
            initial += [
                numpy_helper.from_array(array, name)
                for array, name in zip((channels_first(kernel), bias), names, strict=True)
            ]
            linear = f"{info.name}.linear"
            nodes.append(helper.make_node("Conv", [before, *names], [linear], pads=[1] * 4))
            nodes.append(helper.make_node("Relu", [linear], [info.name]))
        else:
            two = [2, 2]
            node = helper.make_node("MaxPool", [before], [info.name], kernel_shape=two, strides=two)
            nodes.append(node)
        before = info.name
        outputs.append(_tensor(TensorProto.FLOAT, info.name, info.channels))
    image = _tensor(TensorProto.FLOAT, "image", 3)
    graph = helper.make_graph(nodes, "vgg19", [image], outputs, initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def _tensor(kind: int, name: str, channels: int) -> Any:
    from onnx import helper

    return helper.make_tensor_value_info(name, kind, ["N", channels, None, None])


def channels_first(kernel: Floats) -> Floats:
    """Transpose a kernel from (h, w, in, out) to (out, in, h, w)."""
    return np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
