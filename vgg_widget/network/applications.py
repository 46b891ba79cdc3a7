"""Networks of `keras.applications` without their tops, with one output per layer."""

from __future__ import annotations

import hashlib
import math
import random
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from shutil import copyfileobj
from typing import Any

import numpy as np

from vgg_widget.images import MINIMUM_SIDE
from vgg_widget.network.backend import keras_and_tensorflow
from vgg_widget.network.network_input import with_channels_last
from vgg_widget.network.own_model import OwnNetwork, own_network
from vgg_widget.support.messages import reason
from vgg_widget.weights import WeightsError
from vgg_widget.weights.applications import Application
from vgg_widget.weights.keras_file import checked_keras_file

_build_lock = threading.Lock()


def built_application(application: Application, path: Path | None) -> OwnNetwork:
    """Return a new network with the weights of a file, or with random weights.

    Raises
    ------
    WeightsError
        If the file does not fit.
    """
    keras, _ = keras_and_tensorflow()
    model = _in_new_thread(lambda: _build(application, keras))
    if path is None:
        _randomise(model, keras)
    else:
        _load(model, path, application)
    network = own_network(model, own_preprocess=True)
    preprocess = getattr(keras.applications, application.module).preprocess_input
    # Use the network's own preprocessing, wherever it is applied.
    return replace(
        network,
        preprocess=with_channels_last(preprocess),
        input=replace(network.input, minimum_side=MINIMUM_SIDE),
        smallest=application.smallest,
    )


def numbers_digest(network: OwnNetwork) -> str:
    """Return ``"sha256:hex"`` of all weights of a network."""
    digest = hashlib.sha256()
    for variable in network.model.weights:
        digest.update(np.ascontiguousarray(variable).data)
    return f"sha256:{digest.hexdigest()}"


def _build(application: Application, keras: Any) -> Any:
    # Set for this thread only; otherwise layers would use the user's policy.
    keras.config.set_dtype_policy("float32")
    pixels = keras.Input((application.side, application.side, 3), dtype="float32")
    make = getattr(keras.applications, application.title)
    return make(include_top=False, weights=None, input_tensor=pixels)


def _in_new_thread(make: Any) -> Any:
    """Return a function's result from a separate thread, with Keras's default settings.

    Keras numbers layer names and keeps its dtype policy per thread: in a new thread InceptionV3's
    first convolution is always ``"conv2d"``, regardless of existing models. The image layout and
    Python's random state are global and are restored.
    """
    keras, _ = keras_and_tensorflow()
    found: list[Any] = []
    failed: list[BaseException] = []

    def work() -> None:
        # After an interrupt the previous thread may still be running.
        with _build_lock:
            layout, numbers = keras.config.image_data_format(), random.getstate()
            try:
                keras.config.set_image_data_format("channels_last")
                found.append(make())
            except BaseException as error:  # Raised in the calling thread.
                failed.append(error)
            finally:
                keras.config.set_image_data_format(layout)
                random.setstate(numbers)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


def _randomise(model: Any, keras: Any) -> None:
    """Assign He-normal kernels, as in `random_arrays`; other variables are unchanged."""
    generator = np.random.default_rng(0)
    for layer in model.layers:
        own = isinstance(layer, keras.layers.DepthwiseConv2D)
        for variable in layer.trainable_weights:
            if len(variable.shape) < 2:
                continue
            # A depthwise kernel has shape (height, width, channels, multiplier) and reads one
            # channel.
            depthwise = own or "depthwise" in variable.name
            incoming = math.prod(variable.shape[: 2 if depthwise else -1])
            values = generator.standard_normal(variable.shape, dtype=np.float32)
            variable.assign(values * np.float32(math.sqrt(2 / incoming)))


def _load(model: Any, path: Path, application: Application) -> None:
    """Let Keras read a weights file of any version, after checking it."""
    what = f"weights {str(path)!r}"
    most = max(math.prod(variable.shape) for variable in model.weights)
    with _with_keras_suffix(what, path, most) as file:
        try:
            with warnings.catch_warnings():
                # Keras warns about each layer that does not fit, and then raises.
                warnings.simplefilter("ignore")
                model.load_weights(file)
        except Exception as error:
            # Keras may raise anything for layers that do not fit.
            raise WeightsError(
                f"{what} do not fit {application.title} without its top ({reason(error)}): choose "
                f"a file that keras.applications.{application.title}(include_top=False) saved with "
                "save_weights."
            ) from error


@contextmanager
def _with_keras_suffix(what: str, path: Path, most: int) -> Iterator[str]:
    """Yield the path of a checked file, with the suffix that Keras expects for its content."""
    with checked_keras_file(what, path, most) as (part, suffix):
        named = isinstance(part, Path) and part.name
        if named and named.endswith(suffix) and named.endswith(".weights.h5") == (suffix != ".h5"):
            yield str(part)
            return
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / f"copy{suffix}"
            with copy.open("wb") as target, path.open("rb") as source:
                copyfileobj(source if isinstance(part, Path) else part, target)
            yield str(copy)
