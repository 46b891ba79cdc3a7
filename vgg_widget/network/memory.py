"""Limits on the memory of a forward pass."""

from __future__ import annotations

import os

# Report memory use above this size.
_REPORTED_BYTES = 1 << 30
# Usable share of the machine's memory.
_USABLE_SHARE = 0.7


class NotEnoughMemoryError(ValueError):
    """An image that needs more memory than this machine has."""


def memory() -> int:
    """Return this machine's memory in bytes."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        # Unavailable on Windows; assume a typical laptop's memory.
        return 8 << 30


def fitting(height: int, width: int, bytes_a_pixel: int) -> int:
    """Return the number of images of a size that fit in memory at once."""
    return max(1, int(_USABLE_SHARE * memory() / (height * width * bytes_a_pixel)))


def check_memory(height: int, width: int, bytes_a_pixel: int) -> bool:
    """Return whether memory use is worth reporting; raise ValueError if it exceeds the limit."""
    need, have = height * width * bytes_a_pixel, _USABLE_SHARE * memory()
    if need > have:
        scale = (have / need) ** 0.5
        raise NotEnoughMemoryError(
            f"size {height}×{width} pixels needs about {need / 2**30:.1f} GB of memory, but this "
            f"machine has {memory() / 2**30:.1f} GB: choose a size of at most "
            f"{int(min(height, width) * scale)} for the shorter side."
        )
    return need > _REPORTED_BYTES
