"""How strongly a set of images activates a channel: a histogram, and a static picture of all."""

from __future__ import annotations

import html
import io
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from vgg_widget.explorer.atlas.patch_cards import Patch
from vgg_widget.figure.themes import own_style
from vgg_widget.support.messages import plain_number, plain_range

# Sizes of the histogram on the page, in pixels: its bars, and the margins for numbers. The
# outermost numbers extend beyond it by half their width; -65,500 is the longest.
_WIDTH, _BARS, _BELOW, _ABOVE, _BESIDE = 640, 90, 18, 14, 32
_MOST_TICKS = 9
# The gap on either side of the bar of zeros.
_GAP = 1.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One bin: the number of images whose statistic is at least `low` and below `high`.

    `place` is its left edge on the axis, in bar widths.
    """

    place: float
    count: int
    low: float
    high: float

    @property
    def of_zero(self) -> bool:
        """Whether the bin contains 0."""
        return self.low < 0 < self.high

    @property
    def words(self) -> str:
        """Its range and its number of images."""
        images = "1 image" if self.count == 1 else f"{self.count:,} images"
        return f"{'0' if self.of_zero else plain_range(self.low, self.high)}: {images}"


def bars_of(counts: npt.NDArray[np.int32], edges: npt.NDArray[np.float32]) -> list[Bar]:
    """Return the bins between the first and the last with images, on either side of 0.

    There is one edge fewer than counts; see `TopActivations.histogram_edges`.
    """
    low = [-np.inf, *edges.tolist()]
    high = [*edges.tolist(), np.inf]
    zero = int(np.searchsorted(edges, 0))
    found: list[Bar] = []
    place = 0.0
    for part in (range(zero), range(zero, zero + 1), range(zero + 1, len(counts))):
        nonempty = [index for index in part if counts[index]]
        if not nonempty:
            continue
        place += _GAP * bool(found)
        for index in range(nonempty[0], nonempty[-1] + 1):
            found.append(Bar(place, int(counts[index]), low[index], high[index]))
            place += 1
    return found


def ticks_of(bars: Sequence[Bar]) -> list[tuple[float, str]]:
    """Return positions and texts of the numbers below the bars: edges, and 0 below its bar."""
    edges = [(bar.place, bar.low) for bar in bars if not bar.of_zero and np.isfinite(bar.low)]
    # Every second edge is a power of 2, with fewer digits.
    round_ones = [edge for edge in edges if np.log2(abs(edge[1])) % 1 == 0]
    step = max(1, -(-len(round_ones) // _MOST_TICKS))
    ticks = [(place, plain_number(low)) for place, low in (round_ones or edges)[::step]]
    return ticks + [(bar.place + 0.5, "0") for bar in bars if bar.of_zero]


def histogram_svg(bars: Sequence[Bar], words: str) -> str:
    """Return a histogram of at least one bar as SVG, with `words` as its description."""
    most = max(bar.count for bar in bars)
    unit = _WIDTH / max(16.0, bars[-1].place + 1)
    base = _ABOVE + _BARS
    parts = [
        f'<rect x="{bar.place * unit + 0.5:.1f}" y="{base - height:.1f}" '
        f'width="{unit - 1:.1f}" height="{height:.1f}"><title>{bar.words}</title></rect>'
        for bar in bars
        if (height := max(1.0, _BARS * bar.count / most) if bar.count else 0.0)
    ]
    texts = [
        f'<text x="{place * unit:.1f}" y="{base + 13}" text-anchor="middle">'
        f"{html.escape(text)}</text>"
        for place, text in ticks_of(bars)
    ]
    tallest = next(bar for bar in bars if bar.count == most)
    texts.append(
        f'<text x="{(tallest.place + 0.5) * unit:.1f}" y="{_ABOVE - 3}" '
        f'text-anchor="middle">{most:,}</text>'
    )
    whole = _WIDTH + 2 * _BESIDE
    return (
        f'<svg role="img" aria-label="{html.escape(words)}" viewBox="{-_BESIDE} 0 {whole} '
        f'{base + _BELOW}" style="width: 100%; max-width: {whole}px; height: auto; '
        'font-size: 11px; fill: var(--jp-ui-font-color1, currentColor)">'
        f'<g style="fill: var(--jp-brand-color1, #1976d2)">{"".join(parts)}</g>'
        f'<line x1="0" x2="{_WIDTH}" y1="{base}" y2="{base}" stroke="currentColor" '
        f'stroke-opacity="0.4"></line>{"".join(texts)}</svg>'
    )


@own_style()
def static_picture(patches: Sequence[Patch], bars: Sequence[Bar], title: str) -> bytes:
    """Draw patches, values, names and a histogram as PNG, for viewers without a kernel."""
    # Importing matplotlib's figures takes longer than all other imports here.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = 9
    rows = max(1, -(-len(patches) // columns))
    figure = Figure(figsize=(9.6, 0.5 + 1.3 * rows + 1.5), facecolor="white", layout="constrained")
    grid = figure.add_gridspec(rows + 1, columns)
    for number, patch in enumerate(patches):
        axes = figure.add_subplot(grid[number // columns, number % columns])
        axes.set_axis_off()
        # A name is not a formula.
        axes.set_title(
            f"{plain_number(patch.value, 4)}\n{patch.short_name[:14]}", fontsize=7, parse_math=False
        )
        if patch.png:
            with Image.open(io.BytesIO(patch.png)) as picture:
                axes.imshow(np.asarray(picture), interpolation="nearest")
    axes = figure.add_subplot(grid[rows, :])
    axes.bar([bar.place + 0.5 for bar in bars], [bar.count for bar in bars], width=0.9)
    ticks = ticks_of(bars)
    axes.set_xticks([place for place, _ in ticks], [text for _, text in ticks])
    axes.set_ylabel("images")
    figure.suptitle(textwrap.fill(title, 110), fontsize=9, parse_math=False)
    with io.BytesIO() as stream, warnings.catch_warnings():
        # A file name may use any script; matplotlib's font covers only a few.
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from font", category=UserWarning
        )
        FigureCanvasAgg(figure)
        figure.savefig(stream, format="png")
        return stream.getvalue()
