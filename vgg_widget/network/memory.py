"""How much of this machine's memory a forward pass may take."""

from __future__ import annotations

import os

# Where an image begins to be felt by whom it shares the machine with.
_WORTH_SAYING = 1 << 30
# What may be taken of all memory there is.
_SHARE = 0.7


class NotEnoughMemoryError(ValueError):
    """An image would fill this machine's memory; another machine may have more."""


def memory() -> int:
    """Return this machine's memory in bytes."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        # Windows does not tell; a laptop's memory is a fair guess.
        return 8 << 30


def fitting(height: int, width: int, bytes_a_pixel: int) -> int:
    """Return how many images of a size can be computed at once."""
    return max(1, int(_SHARE * memory() / (height * width * bytes_a_pixel)))


def check_memory(height: int, width: int, bytes_a_pixel: int) -> bool:
    """Tell whether an image will be felt; raise ValueError for one that would fill the memory."""
    need, have = height * width * bytes_a_pixel, _SHARE * memory()
    if need > have:
        scale = (have / need) ** 0.5
        raise NotEnoughMemoryError(
            f"size {height}×{width} pixels needs about {need / 2**30:.1f} GB of memory, of which "
            f"this machine has {memory() / 2**30:.1f}: choose a size of at most "
            f"{int(min(height, width) * scale)} for the shorter side."
        )
    return need > _WORTH_SAYING
