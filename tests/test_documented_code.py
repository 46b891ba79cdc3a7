"""Tests that run the code and commands of the README, the documentation and the docstrings."""

from __future__ import annotations

import doctest
import importlib
import inspect
import linecache
import pkgutil
import re
import shlex
import shutil
import sys
import traceback
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ipywidgets.widgets.widget import _instances as widgets
from PIL import Image

import vgg_widget
from vgg_widget import sample_image
from vgg_widget.cli import command as cli
from vgg_widget.explorer.base import ExplorerBase
from vgg_widget.pictures.modes import MODES

REPOSITORY = Path(vgg_widget.__file__).parent.parent
DOCS = REPOSITORY / "docs"
# An HTML comment above a block that cannot be run gives the reason.
NOT_RUN = re.compile(r"<!-- not run: (?P<reason>.+) -->\n+\Z")
FENCE = re.compile(
    r"^(?P<fence>```+)(?P<language>\w+)\n(?P<text>.*?)^(?P=fence)$", re.DOTALL | re.MULTILINE
)
# torchvision's own name for its ImageNet weights.
TORCH_FILE = "vgg19-dcbb9e9d.pth"
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """A fenced code block.

    `line` is the number of its first line, and `reason` says why it is not run.
    """

    language: str
    text: str
    line: int
    reason: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        excuse = NOT_RUN.search(text[: match.start()])
        found.append(
            Block(
                match["language"],
                match["text"],
                text.count("\n", 0, match.start("text")) + 1,
                excuse["reason"] if excuse else "",
            )
        )
    return found


def pages() -> list[Path]:
    # Sphinx itself runs the pages with code cells, and copies the lessons.
    written = [page for page in DOCS.rglob("*.md") if "_build" not in page.parts]
    return [REPOSITORY / "README.md", *sorted(written)]


def modules() -> list[ModuleType]:
    names = [found.name for found in pkgutil.walk_packages(vgg_widget.__path__, "vgg_widget.")]
    # Importing a `__main__` module would run it.
    return [importlib.import_module(name) for name in names if not name.endswith("__main__")]


def docstring_examples() -> Iterator[Any]:
    for module in modules():
        source = inspect.getsource(module)
        if ">>>" in source:
            for test in doctest.DocTestFinder(exclude_empty=True).find(module):
                if test.examples:
                    yield pytest.param(test, id=test.name)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Change to a folder with the pictures that the examples use, and clean up after them."""
    photograph = Image.fromarray(sample_image()).resize((128, 150))
    for number, name in enumerate(("cat", "dog", "fox", "a", "b")):
        photograph.rotate(90 * number, expand=True).save(tmp_path / f"{name}.jpg")
    (tmp_path / "photos").mkdir()
    shutil.copy(tmp_path / "cat.jpg", tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    registered, before = dict(MODES), set(widgets)
    yield tmp_path
    MODES.clear()
    MODES.update(registered)
    left = [widgets[key] for key in set(widgets) - before]
    # Explorers close their own widgets, so they come first; the rest are widgets of the example.
    for widget in sorted(left, key=lambda one: not isinstance(one, ExplorerBase)):
        widget.close()
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
    # pytest would keep weights files of 80 MB for days.
    for made in tmp_path.rglob("*"):
        if made.is_file():
            made.unlink()


def run_doctest(test: doctest.DocTest) -> None:
    said: list[str] = []
    with ExitStack() as stack:
        # The names are kept (`clear_globs=False`), since the next block of a page uses them.
        runner = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False)
        stack.callback(runner.summarize, verbose=False)
        runner.run(test, out=said.append, clear_globs=False)
    assert not runner.failures, "".join(said)


def run_code(block: Block, page: Path, names: dict[str, Any]) -> None:
    """Run a block under the name of its page and line, so that a traceback shows its code."""
    file = f"{page.name}:{block.line}"
    linecache.cache[file] = (len(block.text), None, block.text.splitlines(keepends=True), file)
    try:
        exec(compile(block.text, file, "exec"), names)  # noqa: S102 - the pages are our own
    except Exception:
        pytest.fail(f"{page.relative_to(REPOSITORY)}, line {block.line}\n{traceback.format_exc()}")


@pytest.mark.parametrize("example", list(docstring_examples()))
def test_the_example_of_a_docstring_gives_its_output(example: doctest.DocTest, desk: Path) -> None:
    example.globs = dict(example.globs)
    run_doctest(example)


PAGES_WITH_CODE = [
    pytest.param(page, id=page.relative_to(REPOSITORY).as_posix(), marks=pytest.mark.slow)
    for page in pages()
    if any(block.language == "python" for block in blocks(page))
]


@pytest.mark.sampled
# Keras writes its own variables in a way that numpy 2 has deprecated.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("page", PAGES_WITH_CODE)
def test_a_pages_code_runs_from_top_to_bottom(page: Path, desk: Path) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    if "from torchvision" in page.read_text(encoding="utf-8"):
        from tests.torch_networks import torchvision_models

        # The tests' PyTorch, without CUDA, needs operators to be defined before the page's import.
        torchvision_models()
    if TORCH_FILE in page.read_text(encoding="utf-8"):
        import torch
        from torch import nn

        from tests.torch_networks import VGG19, torch_features

        network = nn.Module()
        network.features = torch_features(VGG19)
        torch.save(network.state_dict(), desk / TORCH_FILE)
    for block in blocks(page):
        if block.language != "python" or block.reason:
            continue
        if block.text.startswith(">>>"):
            place = page.name, str(page), block.line - 1
            examples = doctest.DocTestParser().get_doctest(block.text, {}, *place)
            # `get_doctest` copies the names, but the next block needs those of this one.
            examples.globs = names
            run_doctest(examples)
        else:
            run_code(block, page, names)


def commands() -> Iterator[Any]:
    for page in pages():
        for block in blocks(page):
            for line in block.text.splitlines() if block.language == "sh" else ():
                words = shlex.split(line, comments=True)
                if words[:1] == ["vgg-widget"]:
                    yield pytest.param(words[1:], id=f"{page.name}: {shlex.join(words)}")


@pytest.mark.parametrize("words", list(commands()))
def test_documented_commands_are_valid(words: list[str]) -> None:
    assert callable(cli._parser().parse_args(words).run)


def test_no_code_is_left_out_without_a_reason() -> None:
    left_out = [block for page in pages() for block in blocks(page) if block.reason]
    assert all(len(block.reason.split()) >= 3 for block in left_out)
    # Each of these comments must be followed directly by its block.
    for page in pages():
        excuses = page.read_text(encoding="utf-8").count("<!-- not run:")
        assert excuses == sum(bool(block.reason) for block in blocks(page)), page
