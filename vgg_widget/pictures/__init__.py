"""Rendering channels as images: modes, tiles, colours and legends."""

from vgg_widget.pictures.modes import (
    MODES,
    Mode,
    ModeRequest,
    Picture,
    Rendering,
    find_mode,
    register_mode,
)

__all__ = [
    "MODES",
    "Mode",
    "ModeRequest",
    "Picture",
    "Rendering",
    "find_mode",
    "register_mode",
]
