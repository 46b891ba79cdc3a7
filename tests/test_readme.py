"""The README is short and its links work; there are ten short recipes."""

from __future__ import annotations

import ast
import builtins
import re
from pathlib import Path

import pytest
from PIL import Image, ImageSequence

from tests.test_documented_code import DOCS, REPOSITORY, blocks

README = REPOSITORY / "README.md"
RECIPES = DOCS / "how-to" / "recipes.md"
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)(?:#([^)\s]+))?\)")


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub and MyST give to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_read_in_three_minutes() -> None:
    assert len(README.read_text(encoding="utf-8").split()) <= 700


def test_the_readme_names_the_ten_things_it_does_best_and_where_to_read_on() -> None:
    section = README.read_text(encoding="utf-8").split("## What it does best")[1].split("\n## ")[0]
    rows = re.findall(r"^\| \*\*.+$", section, re.MULTILINE)
    assert len(rows) == 10
    assert all("](docs/" in row for row in rows)


@pytest.mark.parametrize(
    "page", [README, RECIPES, REPOSITORY / "notebooks" / "README.md"], ids=lambda page: page.name
)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        path = page.parent / target
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path.read_text(encoding="utf-8")), (target, anchor)


def test_the_commands_of_the_readme_are_targets_of_the_makefile() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"\bmake ([a-z][a-z-]*)", README.read_text(encoding="utf-8"))
    assert {"demo", "test"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_animation_is_small_and_moves_for_about_ten_seconds() -> None:
    path = DOCS / "explorer.webp"
    assert path.stat().st_size < 3e6
    with Image.open(path) as animation:
        milliseconds = 0
        for frame in ImageSequence.Iterator(animation):
            # The duration is known only after decoding.
            frame.load()
            milliseconds += frame.info["duration"]
    assert 8_000 <= milliseconds <= 14_000


def test_there_are_ten_recipes_of_at_most_ten_lines_that_lead_on() -> None:
    _, *recipes = RECIPES.read_text(encoding="utf-8").split("\n## ")
    assert len(recipes) == 10
    assert all("More: [" in recipe for recipe in recipes)
    code = blocks(RECIPES)
    assert len(code) == 10
    for block in code:
        assert not block.reason, "a recipe that is not run"
        assert len([line for line in block.text.splitlines() if line.strip()]) <= 10


def test_a_recipe_defines_all_its_names() -> None:
    for block in blocks(RECIPES):
        if block.language != "python":
            continue
        tree = ast.parse(block.text)
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
        read = {node.id for node in nodes if isinstance(node.ctx, ast.Load)}
        made = {node.id for node in nodes if isinstance(node.ctx, ast.Store)}
        made |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
        made |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                made |= {alias.asname or alias.name for alias in node.names}
        assert read - made - set(dir(builtins)) == set(), block.text
