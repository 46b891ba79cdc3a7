"""Explorer pages without a kernel: ten free images, and directives for one frame or a list of all.

``make docs`` writes them once into ``docs/_build/pages``, and again when the package has changed.
"""

from __future__ import annotations

import hashlib
import html
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from docutils import nodes
from docutils.parsers.rst import directives
from PIL import Image
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import vgg_widget
from vgg_widget import FeatureExtractor, load_image, sample_image

RGB8 = npt.NDArray[np.uint8]

LAYERS = ("block1_conv2", "block2_conv2", "block3_conv1", "block4_conv1", "block5_conv1")
MOST_MEGABYTES = 4
_PACKAGE = Path(vgg_widget.__file__).parent
_SMALL = (320, 320)


@dataclass(frozen=True)
class LivePicture:
    """An image, its source, and suggested views: pairs of link text and address fragment."""

    name: str
    title: str
    source: str
    places: tuple[tuple[str, str], ...]


def _channel(layer: str, channel: int) -> str:
    return f"layer={layer}&channel={channel}&mode=channel"


def _mode(layer: str, mode: str) -> str:
    return f"layer={layer}&mode={mode}"


PICTURES = (
    LivePicture(
        "grace_hopper",
        "Grace Hopper",
        "United States Navy, public domain; from matplotlib",
        (
            ("all channels of block 2", _mode("block2_conv2", "grid")),
            ("where block 4 responds at all", _mode("block4_conv1", "max")),
        ),
    ),
    LivePicture(
        "astronaut",
        "Eileen Collins",
        "NASA, public domain; from scikit-image",
        (
            ("which channel wins in block 3", _mode("block3_conv1", "argmax")),
            ("six channels, six hues", _mode("block2_conv2", "rainbow")),
        ),
    ),
    LivePicture(
        "chelsea",
        "Chelsea the cat",
        "Stefan van der Walt, CC0; from scikit-image",
        (
            ("vertical stripes: channel 248 of block 3", _channel("block3_conv1", 248)),
            ("horizontal stripes: channel 70 of block 2", _channel("block2_conv2", 70)),
            ("pale fur: channel 222 of block 3", _channel("block3_conv1", 222)),
        ),
    ),
    LivePicture(
        "coffee",
        "A cup of coffee",
        "Rachel Michetti, courtesy of Pikolo Espresso Bar, CC0; from scikit-image",
        (
            ("the wood in the light: channel 24 of block 2", _channel("block2_conv2", 24)),
            ("the brim: channel 85 of block 3", _channel("block3_conv1", 85)),
            ("the mean of block 4", _mode("block4_conv1", "mean")),
        ),
    ),
    LivePicture(
        "rocket",
        "A rocket launch",
        "SpaceX, public domain; from scikit-image",
        (
            ("vertical structures: channel 60 of block 2", _channel("block2_conv2", 60)),
            ("three channels as red, green, blue", _mode("block1_conv2", "rgb")),
        ),
    ),
    LivePicture(
        "camera",
        "A man with a camera",
        "Lav Varshney, CC0; from scikit-image",
        (
            ("the strongest in block 2", _mode("block2_conv2", "max")),
            ("which channel wins in block 4", _mode("block4_conv1", "argmax")),
        ),
    ),
    LivePicture(
        "hubble_deep_field",
        "Hubble deep field",
        "NASA, public domain; from scikit-image",
        (
            ("colours of the galaxies", _mode("block1_conv2", "rainbow")),
            ("all channels of block 2", _mode("block2_conv2", "grid")),
        ),
    ),
    LivePicture(
        "rings",
        "Rings that get finer outwards",
        "computed for this page, under the package's licence",
        (
            ("vertical edges: channel 105 of block 2", _channel("block2_conv2", 105)),
            ("horizontal edges: channel 124 of block 2", _channel("block2_conv2", 124)),
            ("a channel for each direction", _mode("block2_conv2", "argmax")),
        ),
    ),
    LivePicture(
        "checkerboard",
        "A checkerboard",
        "computed for this page, under the package's licence",
        (
            ("edges and corners in block 2", _mode("block2_conv2", "grid")),
            ("the strongest in block 4", _mode("block4_conv1", "max")),
        ),
    ),
    LivePicture(
        "colours",
        "All hues, from pale to full",
        "computed for this page, under the package's licence",
        (
            ("channels of block 1 that respond to hues", _mode("block1_conv2", "grid")),
            ("which channel wins", _mode("block1_conv2", "argmax")),
        ),
    ),
)


# --- the pictures


def picture(name: str) -> RGB8:
    """Return an image by the name of its page."""
    if name == "grace_hopper":
        return sample_image()
    if name in _COMPUTED:
        return _COMPUTED[name](240, 300)
    from skimage import data

    return load_image(getattr(data, name)())


def _rings(height: int, width: int) -> RGB8:
    rows, columns = np.mgrid[:height, :width]
    squared = (rows - height / 2) ** 2 + (columns - width / 2) ** 2
    # The outermost rings have a period of four pixels.
    wave = np.cos(np.pi / 2 * squared / width)
    return _grey(127.5 + 127.5 * wave)


def _checkerboard(height: int, width: int) -> RGB8:
    rows, columns = np.mgrid[:height, :width] // 30
    return _grey(40 + 175.0 * ((rows + columns) % 2))


def _colours(height: int, width: int) -> RGB8:
    from matplotlib.colors import hsv_to_rgb

    rows, columns = np.mgrid[:height, :width]
    levels = hsv_to_rgb(np.stack([columns / width, rows / (height - 1), np.ones(rows.shape)], -1))
    hues: RGB8 = np.rint(255 * levels).astype(np.uint8)
    return hues


def _grey(levels: npt.NDArray[np.floating[Any]]) -> RGB8:
    return np.repeat(np.rint(levels).astype(np.uint8)[..., None], 3, axis=-1)


_COMPUTED = {"rings": _rings, "checkerboard": _checkerboard, "colours": _colours}


# --- their pages


def make_pages(
    target: Path, pictures: Iterable[LivePicture] = PICTURES, layers: Iterable[str] = LAYERS
) -> None:
    """Write each page and thumbnail that is missing or comes from an older package."""
    target.mkdir(parents=True, exist_ok=True)
    made_by, now = target / "made-by.txt", _digest()
    if not made_by.exists() or made_by.read_text(encoding="utf-8") != now:
        for old in target.iterdir():
            old.unlink()
        made_by.write_text(now, encoding="utf-8")
    missing = [one for one in pictures if not (target / f"{one.name}.html").exists()]
    if missing:
        extractor = FeatureExtractor("kmeans")
    for one in missing:
        activations = extractor(picture(one.name))
        small = Image.fromarray(activations.image)
        small.thumbnail(_SMALL)
        small.save(target / f"{one.name}.png")
        activations.to_html(
            target / f"{one.name}.html",
            layers=layers,
            title=f"{one.title} ({one.source})",
            max_megabytes=MOST_MEGABYTES,
        )


def _digest() -> str:
    """Return a hash of everything that a page depends on."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(_PACKAGE.rglob("*")):
        if path.suffix in (".py", ".js", ".css", ".html", ".npz"):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _kept(app: Sphinx) -> Path:
    return Path(app.srcdir) / "_build" / "pages"


def make_all(app: Sphinx) -> None:
    """Write missing pages before Sphinx reads the documents that show them."""
    if app.builder.format == "html":
        make_pages(_kept(app))


def copy_all(app: Sphinx, problem: Exception | None) -> None:
    """Copy the pages into the site."""
    if app.builder.format != "html" or problem is not None:
        return
    target = Path(app.outdir) / "pages"
    target.mkdir(exist_ok=True)
    for one in PICTURES:
        for suffix in (".html", ".png"):
            shutil.copy2(_kept(app) / f"{one.name}{suffix}", target)


# --- what shows them


def _folder(docname: str) -> str:
    return "../" * docname.count("/") + "pages"


class LivePage(SphinxDirective):
    """Show a page in a frame: ``.. live-page:: chelsea#layer=block3_conv1&mode=max``."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Callable[[str], Any]]] = {"height": directives.positive_int}

    def run(self) -> list[nodes.Node]:
        """Return the frame, and a line with a link to the page."""
        name, _, place = self.arguments[0].partition("#")
        (one,) = [found for found in PICTURES if found.name == name]
        page = f"{_folder(self.env.docname)}/{name}.html"
        address = html.escape(f"{page}#{place}" if place else page)
        height = self.options.get("height", 900)
        title = html.escape(one.title)
        frame = (
            f'<iframe class="live-page" src="{address}" title="Explorer: {title}" loading="lazy" '
            f'style="height: {height}px"></iframe>'
            f'<p class="live-page-note"><a href="{address}">{title} on a page of its own</a>: '
            f"{html.escape(one.source)}.</p>"
        )
        return [nodes.raw("", frame, format="html")]


class LivePictures(SphinxDirective):
    """List all images as thumbnails, with links into their pages: ``.. live-pictures::``."""

    def run(self) -> list[nodes.Node]:
        """Return the list."""
        folder = _folder(self.env.docname)
        cards = "\n".join(_card(one, folder) for one in PICTURES)
        return [nodes.raw("", f'<div class="live-pictures">\n{cards}\n</div>', format="html")]


def _card(one: LivePicture, folder: str) -> str:
    page, title = f"{folder}/{one.name}.html", html.escape(one.title)
    places = "".join(
        f'<li><a href="{html.escape(f"{page}#{place}")}">{html.escape(words)}</a></li>'
        for words, place in one.places
    )
    return (
        f'<figure><a href="{page}"><img src="{folder}/{one.name}.png" alt="" loading="lazy">'
        f"<strong>{title}</strong></a>"
        f"<figcaption>{html.escape(one.source)}<ul>{places}</ul></figcaption></figure>"
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """Add both directives, and the hooks that write and copy the pages."""
    app.add_directive("live-page", LivePage)
    app.add_directive("live-pictures", LivePictures)
    app.connect("builder-inited", make_all)
    app.connect("build-finished", copy_all)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
