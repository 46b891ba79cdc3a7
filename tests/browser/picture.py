"""Checksums of a canvas's pixels, to compare the page's picture with the kernel's."""

from __future__ import annotations

from dataclasses import dataclass

# Runs in the kernel; `harness.js` computes the same for a canvas in the page.
KERNEL_CODE = """
def _picture(canvas):
    import contextlib, zlib, numpy
    # Without the lock, the buffer may contain half a drawing.
    with getattr(canvas, "lock", contextlib.nullcontext()):
        rgba = numpy.asarray(canvas.get_renderer().buffer_rgba())
        rgb = numpy.array(rgba[..., :3], order="C")
    return dict(
        width=rgb.shape[1],
        height=rgb.shape[0],
        rows=[zlib.crc32(row) for row in rgb],
        crc=zlib.crc32(rgb),
        blank=bool((rgb == rgb[0, 0]).all()),
    )
"""


@dataclass(frozen=True)
class Picture:
    """The size of a picture and the checksums of its RGB bytes."""

    width: int
    height: int
    rows: tuple[int, ...]
    """CRC-32 of each row, from the top."""
    crc: int
    """CRC-32 of the whole."""
    blank: bool
    """Whether every pixel has the same colour."""

    @classmethod
    def of(cls, answer: dict[str, object]) -> Picture:
        """Create a picture from an answer of the page or the kernel."""
        return cls(**{**answer, "rows": tuple(answer["rows"])})  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"Picture({self.width}x{self.height}, crc={self.crc:08x}, blank={self.blank})"

    def difference(self, truth: Picture) -> str:
        """Describe how this picture differs from `truth`, or return an empty string."""
        if (self.width, self.height) != (truth.width, truth.height):
            return f"{self.width}x{self.height} pixels instead of {truth.width}x{truth.height}"
        rows = enumerate(zip(self.rows, truth.rows, strict=True))
        wrong = [row for row, (crc, true_crc) in rows if crc != true_crc]
        if not wrong:
            return ""
        return f"{len(wrong)} of {self.height} rows differ, between {wrong[0]} and {wrong[-1]}"
