"""Keras on TensorFlow, imported when first needed, without its page of log lines."""

from __future__ import annotations

import functools
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@functools.cache
def keras_and_tensorflow() -> tuple[Any, Any]:
    """Import Keras and TensorFlow, and let TensorFlow find its devices.

    Returns
    -------
    (keras, tensorflow) : tuple of module

    Raises
    ------
    RuntimeError
        If Keras is set to another backend.
    """
    # Read when TensorFlow is first imported; a person's own setting stands.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_log():
        import keras
        import tensorflow as tf

        tf.constant(0)
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"Keras runs on {keras.backend.backend()!r} here, but vgg_widget needs TensorFlow: "
            "set the environment variable KERAS_BACKEND=tensorflow before Keras is imported."
        )
    return keras, tf


@contextmanager
def quiet_log() -> Iterator[None]:
    """Keep what native code writes to the standard error stream, and show it only on failure.

    TensorFlow reports processors and missing GPUs there before its own log level counts, and
    Jupyter would show that as errors in a student's cell.
    """
    sys.stderr.flush()
    try:
        stream = os.dup(2)
    except OSError:
        # Under pythonw and some services there is no such stream.
        yield
        return
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(stream, 2)
            kept.seek(0)
            sys.stderr.write(kept.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(stream, 2)
            os.close(stream)
