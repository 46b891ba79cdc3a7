"""Helpers for tests of weights: a web server on 127.0.0.1, and valid and invalid Keras files."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
import numpy.typing as npt

from vgg_widget.layers import vgg19_kernel_shapes
from vgg_widget.weights import Arrays, RemoteFile

SHAPES = vgg19_kernel_shapes()

Floats = npt.NDArray[np.float32]

PAGE = b"<!DOCTYPE html><html><body>Please sign in to the school's network</body></html>"


class Mirror:
    """A web server on 127.0.0.1, with a `behaviour`, a `payload` and a list of its `requests`.

    If `files` has a file of the requested name, it is sent instead of the payload.
    """

    def __init__(self) -> None:
        self.payload = b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 800
        self.files: dict[str, bytes] = {}
        self.behaviour = "good"
        self.requests: list[str] = []
        self.midway: Callable[[], object] = lambda: None
        self.ended = threading.Event()
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.requests.append(self.path)
                behaviour = "page" if self.path == "/sign-in" else mirror.behaviour
                getattr(mirror, f"_{behaviour}")(self)

            def log_message(self, *_: Any) -> None:
                """Keep the tests' output clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/models/"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()

    @staticmethod
    def _begin(handler: BaseHTTPRequestHandler, status: int = 200, **headers: object) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), str(value))
        handler.end_headers()

    def _good(self, handler: BaseHTTPRequestHandler) -> None:
        payload = self.files.get(handler.path.rpartition("/")[2], self.payload)
        self._begin(handler, Content_Length=len(payload))
        half = len(payload) // 2
        handler.wfile.write(payload[:half])
        handler.wfile.flush()
        self.midway()
        handler.wfile.write(payload[half:])

    def _unmeasured(self, handler: BaseHTTPRequestHandler) -> None:
        self._begin(handler)
        handler.wfile.write(self.payload)

    def _slow(self, handler: BaseHTTPRequestHandler) -> None:
        self._begin(handler, Content_Length=len(self.payload))
        step = len(self.payload) // 12 + 1
        for start in range(0, len(self.payload), step):
            handler.wfile.write(self.payload[start : start + step])
            self.ended.wait(0.15)

    def _missing(self, handler: BaseHTTPRequestHandler) -> None:
        handler.send_error(404)

    def _page(self, handler: BaseHTTPRequestHandler) -> None:
        self._begin(handler, Content_Type="text/html", Content_Length=len(PAGE))
        handler.wfile.write(PAGE)

    def _redirect(self, handler: BaseHTTPRequestHandler) -> None:
        self._begin(handler, 302, Location="/sign-in", Content_Length=0)

    def _half(self, handler: BaseHTTPRequestHandler) -> None:
        self._begin(handler, Content_Length=len(self.payload))
        handler.wfile.write(self.payload[: len(self.payload) // 2])

    def _stall(self, handler: BaseHTTPRequestHandler) -> None:
        self._half(handler)
        handler.wfile.flush()
        self.ended.wait()

    def _silent(self, _: BaseHTTPRequestHandler) -> None:
        self.ended.wait()

    def _hangup(self, _: BaseHTTPRequestHandler) -> None:
        """Close the connection without a response."""

    def _wrong(self, handler: BaseHTTPRequestHandler) -> None:
        self._begin(handler, Content_Length=len(self.payload))
        handler.wfile.write(self.payload[::-1])


def passing_for(file: RemoteFile, content: bytes) -> RemoteFile:
    """Return the remote file as if `content` were published: with its hash and size."""
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return replace(file, hash=f"md5:{digest}", size=len(content))


# Smaller than in VGG19, whose first dense layer alone has 100 million numbers.
HIDDEN = (24, 16)


def dense(classes: int, seed: int = 3) -> list[tuple[Floats, Floats]]:
    """Return kernels and biases that make some classes far more probable than others."""
    generator = np.random.default_rng(seed)
    layers, incoming = [], 7 * 7 * 512
    for outgoing in (*HIDDEN, classes):
        kernel = generator.standard_normal((incoming, outgoing)) * np.sqrt(2 / incoming)
        bias = generator.standard_normal(outgoing) * 0.1
        layers.append((kernel.astype(np.float32), bias.astype(np.float32)))
        incoming = outgoing
    return layers


def class_list(count: int = 1000) -> dict[str, list[str]]:
    return {str(number): [f"n{number:08d}", f"made_up_{number}"] for number in range(count)}


def with_top(vgg19: Any) -> Any:
    import keras

    pooled = keras.layers.GlobalAveragePooling2D()(vgg19.output)
    return keras.Model(vgg19.input, keras.layers.Dense(3, name="predictions")(pooled))


def by_hand(path: Path, arrays: Arrays, kernel: str = "kernel:0", bias: str = "bias:0") -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in arrays]
        for name, pair in arrays.items():
            members = [f"{name}/{part.format(name=name)}" for part in (kernel, bias)]
            file.create_group(name).attrs["weight_names"] = [item.encode() for item in members]
            for member, array in zip(members, pair, strict=True):
                file[f"{name}/{member}"] = array
    return path


def keras3(path: Path, model: Any) -> Path:
    model.save_weights(path)
    return path


def keras3_without_names(path: Path, model: Any) -> Path:
    with h5py.File(keras3(path, model), "r+") as file:
        had: list[Any] = []
        file.visititems(lambda _, item: had.append(item.attrs.pop("name", None)))
        assert "block4_conv3" in had
    return path


def keras3_nested(path: Path, model: Any) -> Path:
    import keras

    return keras3(path, keras.Sequential([model, keras.layers.GlobalMaxPooling2D()]))


def legacy_group(path: Path, model: Any) -> Path:
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, model)
    return path


def legacy_whole_model(path: Path, model: Any) -> Path:
    model.compile("sgd", "mse")
    model.save(path)
    with h5py.File(path, "r+") as file:
        assert "model_weights" in file
        # After training, an optimizer's data for a layer has the layer's name too.
        file.create_dataset("optimizer_weights/adam/block1_conv1/kernel", (3, 3, 3, 64), "f4")
    return path


KERAS_FILES: dict[str, tuple[str, Callable[[Path, Any], Path]]] = {
    "keras 3": ("a.weights.h5", keras3),
    "keras 3, before it kept names": ("a.weights.h5", keras3_without_names),
    "keras 3 with a top": ("a.weights.h5", lambda path, model: keras3(path, with_top(model))),
    "keras 3 inside another model": ("a.weights.h5", keras3_nested),
    "legacy": ("a.h5", legacy_group),
    "legacy whole model with a top": (
        "a.h5",
        lambda path, model: legacy_whole_model(path, with_top(model)),
    ),
}


def declare(path: Path, **changes: Any) -> Path:
    """Write a small file that only declares VGG19's datasets, some of them changed."""
    with h5py.File(path, "w") as file:
        for name, shape in SHAPES.items():
            change = changes.get(name, {})
            if change is None:
                continue
            file.create_dataset(
                f"{name}/kernel", change.get("kernel", shape), change.get("dtype", "f4")
            )
            file.create_dataset(f"{name}/bias", change.get("bias", shape[-1:]), "f4")
    return path


def another_network(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for part, value in (("0", np.zeros((7, 7, 3, 64))), ("1", np.zeros(64))):
            file[f"layers/conv2d/vars/{part}"] = value
        file["layers/conv2d/vars"].attrs["name"] = "conv1_conv"


def torn(path: Path) -> None:
    whole = declare(path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def not_a_number(path: Path) -> None:
    with h5py.File(declare(path), "r+") as file:
        file["block1_conv2/kernel"][0, 0, 0, 0] = np.nan


def third_array(path: Path) -> None:
    with h5py.File(declare(path), "r+") as file:
        file["block1_conv2/more"] = [1.0]


def kept_outside(path: Path) -> None:
    secret = path.with_name("secret")
    secret.write_bytes(bytes(256))
    with h5py.File(declare(path), "r+") as file:
        del file["block1_conv1/bias"]
        file.create_dataset("block1_conv1/bias", (64,), "f4", external=[(str(secret), 0, 256)])


def linked_outside(path: Path) -> None:
    with h5py.File(declare(path), "r+") as file:
        other = declare(path.with_name("other.h5"))
        del file["block1_conv1"]
        file["block1_conv1"] = h5py.ExternalLink(str(other), "block1_conv1")


BAD_FILES: dict[str, tuple[Callable[[Path], Any], tuple[str, ...]]] = {
    "missing": (lambda _: None, ("No such file", "check the path")),
    "folder": (Path.mkdir, ("is a folder", "pass the weights file in it")),
    "empty": (Path.touch, ("is empty", "download or save it again")),
    "text": (
        lambda path: path.write_text("weights" * 99),
        ("is not a known kind of weights file", "choose"),
    ),
    "torn": (torn, ("cut short or damaged", "choose")),
    "another network": (
        another_network,
        ("'block1_conv1' has a kernel of shape (7, 7, 3, 64)", "VGG19 has (3, 3, 3, 64)"),
    ),
    "missing layer": (
        lambda path: declare(path, block3_conv4=None),
        ("'block3_conv4' is missing",),
    ),
    "two wrong kernels": (
        lambda path: declare(
            path, block2_conv2={"kernel": (3, 3, 64, 128)}, block1_conv2={"kernel": (3, 3, 64, 32)}
        ),
        ("'block1_conv2' has a kernel of shape (3, 3, 64, 32)", "VGG19 has (3, 3, 64, 64)"),
    ),
    "torchvision's order": (
        lambda path: declare(path, block1_conv1={"kernel": (64, 3, 3, 3)}),
        ("kernel of shape (64, 3, 3, 3)", "(3, 3, 3, 64)"),
    ),
    "wrong bias": (
        lambda path: declare(path, block5_conv4={"bias": (511,)}),
        ("'block5_conv4' has a bias of shape (511,)", "(512,)"),
    ),
    "whole numbers": (
        lambda path: declare(path, block1_conv1={"dtype": "i4"}),
        ("'block1_conv1'", "not an array of floats"),
    ),
    "NaN": (not_a_number, ("'block1_conv2' has a kernel with NaN",)),
    "third array": (third_array, ("'block1_conv2' has 3 arrays",)),
    "numbers of another file": (
        kept_outside,
        ("'block1_conv1' has a bias that is not stored",),
    ),
    "link to another file": (linked_outside, ("'block1_conv1' is missing",)),
}
