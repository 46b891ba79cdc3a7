"""How channels become one picture, and what goes with it: tiles, colours, legends."""

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
