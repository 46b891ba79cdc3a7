"""The documentation site: it builds without a warning, is complete, and fetches nothing."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from ipywidgets import VBox
from sphinx.util.inventory import InventoryFile

import vgg_widget
from vgg_widget import LayerExplorer, gradients
from vgg_widget.explorer.base import LOOKS
from vgg_widget.explorer.mouse_and_keys import KEYS
from vgg_widget.explorer.settings import SETTINGS
from vgg_widget.pictures.modes import MODES
from vgg_widget.pictures.scaling import SCOPES

REPOSITORY = Path(vgg_widget.__file__).parent.parent
DOCS = REPOSITORY / "docs"
# What a page fetches without a click; links may lead anywhere.
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|video|embed)\b[^>]*?\bsrc\s*=\s*["']([^"']*)"""
    r"""|<link\b[^>]*?\bhref\s*=\s*["']([^"']*)"""
)
STYLED = re.compile(r"""(?:@import\s+|url\()\s*["']?([^"')]+)""")
LINKED = re.compile(r"""<a\b[^>]*?\bhref\s*=\s*["']([^"']*)""")
NAMED = re.compile(r"""\bid\s*=\s*["']([^"']*)""")


def build(target: Path) -> subprocess.CompletedProcess[str]:
    """Build the site like ``make docs``."""
    return subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", str(DOCS), str(target)],
        # The kernels that draw the pictures get their own configuration folder.
        env={**os.environ, "IPYTHONDIR": str(target.parent / "ipython")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
# Two kernels draw the site's pictures, which takes long on a busy machine.
@pytest.mark.timeout(900)
def test_the_site_is_built_without_a_warning_and_fetches_nothing(tmp_path: Path) -> None:
    site = tmp_path / "site"
    done = build(site)
    assert done.returncode == 0, done.stdout + done.stderr
    # The theme has templates among its scripts.
    found = [path for path in site.rglob("*.html") if "_static" not in path.parts]
    pages = {path: path.read_text(encoding="utf-8") for path in found}
    ids = {path: set(map(html.unescape, NAMED.findall(text))) for path, text in pages.items()}
    assert len(pages) > 30
    wrong = []
    for page, text in pages.items():
        for address in [one or other for one, other in FETCHED.findall(text)]:
            target = urlsplit(html.unescape(address))
            inside = target.scheme == "data" or (page.parent / unquote(target.path)).exists()
            if target.netloc or not inside:
                wrong.append((page.name, address))
        for address in LINKED.findall(text):
            target = urlsplit(html.unescape(address))
            if target.scheme or target.netloc:
                continue
            place = (page.parent / unquote(target.path)).resolve() if target.path else page
            if not place.exists() or (
                target.fragment
                and place in ids
                and unquote(target.fragment) not in ids[place]
                # On an explorer's page, the fragment is what to show.
                and place.parent != site / "pages"
            ):
                wrong.append((page.name, address))
    for sheet in site.rglob("*.css"):
        fetched = STYLED.findall(sheet.read_text(encoding="utf-8"))
        wrong += [(sheet.name, address) for address in fetched if urlsplit(address).netloc]
    assert not wrong
    # The browser itself renders formulas.
    scales = pages[site / "explanation" / "scales.html"]
    assert "<math" in scales
    # A picture of each mode, made by the build.
    gallery = pages[site / "gallery.html"]
    for mode in [name for name, mode in MODES.items() if mode.built_in]:
        (section,) = re.findall(rf'<section id="{mode}-.*?</section>', gallery, re.DOTALL)
        assert "<img" in section, mode
    assert_explorers_are_there(site, pages)
    assert_everything_public_is_described(site)


def assert_explorers_are_there(site: Path, pages: dict[Path, str]) -> None:
    """Assert that ten pages of feature maps exist, and that two other pages embed one each."""
    made = sorted((site / "pages").glob("*.html"))
    assert len(made) == 10
    for path in made:
        assert path.stat().st_size <= 4e6, path
        assert f'href="pages/{path.name}"' in pages[site / "pictures.html"]
    for name in ("index", "gallery"):
        frames = re.findall(r'<iframe [^>]*src="pages/([^"#]+)', pages[site / f"{name}.html"])
        assert [(site / "pages" / frame).exists() for frame in frames] == [True]


def assert_everything_public_is_described(site: Path) -> None:
    with (site / "objects.inv").open("rb") as stream:
        inventory = InventoryFile.load(stream, "", lambda _, path: path)
    described = {
        name for kind, names in inventory.items() if kind.startswith("py:") for name in names
    }
    assert {f"vgg_widget.{name}" for name in vgg_widget.__all__} <= described
    own = set()
    for kind in LayerExplorer.__mro__:
        if kind.__module__.startswith("vgg_widget."):
            own |= {name for name, value in vars(kind).items() if isinstance(value, property)}
            own |= {name for name, value in vars(kind).items() if callable(value)}
    # ipywidgets describes the members of its base class.
    own = {name for name in own if not name.startswith("_") and name not in dir(VBox)}
    own -= {"hold_trait_notifications", *SETTINGS, *LOOKS}
    assert {f"vgg_widget.LayerExplorer.{name}" for name in own} <= described


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def test_every_mode_and_scale_is_explained() -> None:
    built_in = [name for name, mode in MODES.items() if mode.built_in]
    for mode in built_in:
        assert f"\n## {mode}: " in page("gallery.md"), mode
        assert f"`{mode}`" in page("explanation/modes.md") + page("gallery.md"), mode
    for scope in SCOPES:
        assert f"| `{scope}` |" in page("explanation/scales.md"), scope


@pytest.mark.parametrize("name", ["METHODS", "PRIORS"])
def test_every_choice_of_a_constant_is_listed(name: str) -> None:
    listed = (
        page("api/gradients.md")
        .partition(f"py:data:: vgg_widget.gradients.{name}\n")[2]
        .partition("\n\n.. ")[0]
    )
    assert re.findall('``"(.*?)"``', listed) == [*getattr(gradients, name)]


def test_every_key_is_listed() -> None:
    signs = {
        "ArrowLeft": "←",
        "ArrowRight": "→",
        "ArrowUp": "↑",
        "ArrowDown": "↓",
        "Escape": "Esc",
        "Backspace": "Backspace",
    }
    for key in KEYS:
        sign = signs.get(key, f"`{key}`")
        assert re.search(
            rf"^\| [^|]*{re.escape(sign)}[^|]* \|", page("how-to/accessibility.md"), re.MULTILINE
        )


def test_every_page_is_in_a_toctree() -> None:
    listed = set()
    for found in DOCS.rglob("*.md"):
        for block in re.findall(r"```{toctree}\n(.*?)```", found.read_text("utf-8"), re.DOTALL):
            for line in block.splitlines():
                entry = re.sub(r".*<(.*)>", r"\1", line.strip())
                if entry and not entry.startswith(":"):
                    listed |= {*found.parent.glob(f"{entry}.md")}
    resolved = {path.resolve() for path in listed}
    written = {path.resolve() for path in DOCS.rglob("*.md") if "_build" not in path.parts}
    assert written - resolved == {(DOCS / "index.md").resolve()}
