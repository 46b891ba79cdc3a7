"""VGG19's weights into a file that other programs read: torchvision's layout, or Keras's."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from vgg_widget.support.files import written_whole
from vgg_widget.weights.arrays import Arrays, WeightsError
from vgg_widget.weights.keras_file import PREPROCESSING_ATTRIBUTE
from vgg_widget.weights.state_dicts import TORCH_NAMES
from vgg_widget.weights.torchvision import PREPROCESSING_KEY

EXPORTED = (".safetensors", ".weights.h5")
"""The names that an exported file can end in."""


def export_weights(arrays: Arrays, preprocessing: str, path: str | os.PathLike[str]) -> None:
    """Write the convolutions to a file that `resolve` reads back, preprocessing and all.

    The numbers are kept as they are. Neither layout has a place for what they expect of the
    input, so that is written into the file's metadata, where other programs do not look.

    Parameters
    ----------
    arrays : Arrays
        In Keras's order of axes.
    preprocessing : str
        ``"caffe"`` or ``"torch"``.
    path : str or Path
        ``.safetensors`` is a state dict of torchvision's VGG19 without its classifier
        (``load_state_dict(..., strict=False)`` takes it); ``.weights.h5`` is for
        ``keras.applications.VGG19(include_top=False).load_weights``. Replaced as a whole.

    Raises
    ------
    ValueError
        If the suffix is another.
    WeightsError
        If it cannot be written, or the package safetensors is missing.
    OSError
        If the folder is missing or cannot be written.
    """
    name = os.fspath(path)
    if not name.lower().endswith(EXPORTED):
        raise ValueError(f"path {name!r} does not end in {' or '.join(EXPORTED)}: name it so.")
    write = _write_safetensors if name.lower().endswith(".safetensors") else _write_keras
    with written_whole(path) as draft:
        try:
            write(arrays, preprocessing, draft)
        except OSError as error:
            # HDF5's own words fill several lines.
            why = os.strerror(error.errno) if error.errno else error
            raise WeightsError(
                f"path {name!r} could not be written ({why}): make room, or choose another folder."
            ) from error


def _write_safetensors(arrays: Arrays, preprocessing: str, path: Path) -> None:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import save_file
    except ImportError as error:
        raise WeightsError(
            "a .safetensors file needs the package safetensors: run "
            "`pip install 'vgg-widget[safetensors]'`, or choose .weights.h5."
        ) from error
    tensors = {}
    for name, (kernel, bias) in arrays.items():
        # (height, width, in, out) → (out, in, height, width)
        tensors[f"{TORCH_NAMES[name]}.weight"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        tensors[f"{TORCH_NAMES[name]}.bias"] = bias
    try:
        # Other programs ask for the format before they read on.
        save_file(tensors, path, {"format": "pt", PREPROCESSING_KEY: preprocessing})
    except SafetensorError as error:
        raise OSError(str(error)) from error


def _write_keras(arrays: Arrays, preprocessing: str, path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs[PREPROCESSING_ATTRIBUTE] = preprocessing
        for number, (name, pair) in enumerate(arrays.items()):
            # As Keras 3 numbers the layers of a class.
            group = file.create_group(f"layers/conv2d{f'_{number}' if number else ''}/vars")
            group.attrs["name"] = name
            for part, array in enumerate(pair):
                group[str(part)] = array
