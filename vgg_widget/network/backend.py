"""Keras on TensorFlow, imported when first needed, without its page of log lines."""

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
    """Import Keras and TensorFlow, and let TensorFlow find its devices; raise if that fails."""
    # First, since the lock may have been held by a thread that did not come along.
    if _threads_lost.is_set():
        raise RuntimeError(
            "TensorFlow cannot compute in a process that was forked from one where it had started, "
            "since its threads do not come along: start processes with "
            "multiprocessing.get_context('spawn') and make the extractor there, or compute in the "
            "parent process."
        )
    # Two threads that both swap the stream would lose it.
    with _lock:
        modules = _import_once()
    check_eager()
    return modules


def check_eager() -> None:
    """Raise RuntimeError where TensorFlow only notes down what is to be computed."""
    _, tf = _import_once()
    if not tf.executing_eagerly():
        raise RuntimeError(
            "TensorFlow executes nothing eagerly here, as vgg_widget needs it: call it outside "
            "tf.function and tf.Graph().as_default(), and restart the kernel if "
            "tf.compat.v1.disable_eager_execution() was called."
        )


# The import itself may come back here: a file called code.py hides the one of the standard library.
_lock = threading.RLock()
_threads_lost = threading.Event()


def _note_fork() -> None:
    # Whoever started TensorFlow, there is no public way to ask. One that was imported and no more
    # starts in the child.
    eager = sys.modules.get("tensorflow.python.eager.context")
    if getattr(getattr(eager, "_context", None), "_initialized", False):
        _threads_lost.set()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


@functools.cache
def _import_once() -> tuple[Any, Any]:
    if sys.platform == "emscripten":
        raise ImportError(
            "TensorFlow does not run in JupyterLite: compute elsewhere, keep that with "
            "activations.save('x.npz'), and here use render and plot on Activations.load('x.npz')."
        )
    # Read when TensorFlow is first imported; a person's own setting stands.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # What an interrupt leaves of TensorFlow cannot be imported again in the same process.
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
    """Throw away what native code writes to the standard error stream.

    TensorFlow reports processors and missing GPUs there before its own log level counts, and
    Jupyter would show that as errors in a student's cell.
    """
    try:
        stream = os.dup(2)
    except OSError:
        # Under pythonw and some services there is no such stream.
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(stream, 2)
        os.close(stream)
