"""Keras on TensorFlow, imported when first needed, with its log output suppressed."""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vgg_widget.support.interrupts import interrupts_delayed


def keras_and_tensorflow() -> tuple[Any, Any]:
    """Import Keras and TensorFlow, and initialise TensorFlow's devices; raise if that fails."""
    # Check before locking: a thread lost in the fork may have held the lock.
    if _threads_lost.is_set():
        raise RuntimeError(
            "TensorFlow cannot compute in a process forked after it had started, since its threads "
            "are not inherited: start processes with multiprocessing.get_context('spawn') and "
            "create the extractor there, or compute in the parent process."
        )
    # Two threads redirecting the stream at once would lose it.
    with _lock:
        modules = _import_once()
    check_eager()
    return modules


def check_eager() -> None:
    """Raise RuntimeError if TensorFlow does not execute eagerly."""
    _, tf = _import_once()
    if not tf.executing_eagerly():
        raise RuntimeError(
            "TensorFlow does not execute eagerly here, which vgg_widget needs: call it outside "
            "tf.function and tf.Graph().as_default(), and restart the kernel if "
            "tf.compat.v1.disable_eager_execution() was called."
        )


# Reentrant, since the import may call this module again: a user's code.py, for instance, shadows
# that of the standard library.
_lock = threading.RLock()
_threads_lost = threading.Event()


def _note_fork() -> None:
    # There is no public way to ask whether TensorFlow has started. If it was only imported, it
    # starts normally in the child.
    eager = sys.modules.get("tensorflow.python.eager.context")
    if getattr(getattr(eager, "_context", None), "_initialized", False):
        _threads_lost.set()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


@functools.cache
def _import_once() -> tuple[Any, Any]:
    if sys.platform == "emscripten":
        raise ImportError(
            "TensorFlow does not run in JupyterLite: compute elsewhere, save with "
            "activations.save('x.npz'), and here use render and plot with "
            "Activations.load('x.npz')."
        )
    # Read when TensorFlow is first imported; the user's own setting takes precedence.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # After an interrupted import, TensorFlow cannot be imported again in the same process.
    with interrupts_delayed(), quiet_log():
        import keras
        import tensorflow as tf

        if tf.executing_eagerly():
            tf.constant(0)
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"Keras runs on {keras.backend.backend()!r} here, but vgg_widget needs TensorFlow: "
            "set the environment variable KERAS_BACKEND=tensorflow before Keras is imported."
        )
    return keras, tf


@contextmanager
def quiet_log() -> Iterator[None]:
    """Discard what native code writes to standard error.

    TensorFlow reports CPU features and missing GPUs there before its log level takes effect, and
    Jupyter would show that as errors in a student's cell.
    """
    try:
        stream = os.dup(2)
    except OSError:
        # pythonw and some services have no standard error.
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(stream, 2)
        os.close(stream)
