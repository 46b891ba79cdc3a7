"""How channels become one picture, and what goes with it: tiles, colours, legends."""

from vgg_widget.modes.registry import (
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
