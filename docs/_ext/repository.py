"""Files from the rest of the repository: notebooks, and files that pages link to."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from sphinx.application import Sphinx

# [words](path#anchor), but no image, web address or anchor on the same page.
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def copy_lessons(app: Sphinx) -> None:
    """Copy ``notebooks`` to ``docs/lessons``; Sphinx need not read unchanged files again."""
    # Sphinx reads only files in its own folder.
    pages, notebooks = Path(app.srcdir), Path(app.srcdir).parent / "notebooks"
    target = pages / "lessons"
    target.mkdir(exist_ok=True)
    sources = sorted(notebooks.glob("*.ipynb"))
    for old in {*target.iterdir()} - {target / source.name for source in sources}:
        old.unlink()
    for source in sources:
        text, copy = _for_the_site(source, pages), target / source.name
        if not copy.exists() or copy.read_text(encoding="utf-8") != text:
            copy.write_text(text, encoding="utf-8")


def _for_the_site(notebook: Path, pages: Path) -> str:
    """Return a notebook whose links lead to pages of the site; other links become plain words."""

    def link(match: re.Match[str]) -> str:
        words, path, anchor = match.groups()
        place = (notebook.parent / path).resolve()
        if place.parent == notebook.parent and place.suffix == ".ipynb" and place.exists():
            return match[0]
        if place.is_relative_to(pages) and place.exists():
            return f"[{words}](../{place.relative_to(pages)}{anchor or ''})"
        return str(words)

    content = json.loads(notebook.read_text(encoding="utf-8"))
    for cell in content["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = _LINK.sub(link, "".join(cell["source"]))
    return json.dumps(content, ensure_ascii=False, indent=1)


def link_to_files(app: Sphinx, page: str, content: list[str]) -> None:
    """Turn a page's links to files outside the documentation into downloads on the site.

    In the repository they are plain links. A link to a notebook leads to its lesson.
    """
    if page.startswith("lessons/"):
        return
    pages = Path(app.srcdir)
    here = (pages / page).parent

    def link(match: re.Match[str]) -> str:
        words, path, anchor = match.groups()
        place = (here / path).resolve()
        if place.is_relative_to(pages) or not place.is_file():
            return match[0]
        if place.parent == pages.parent / "notebooks" and place.suffix == ".ipynb":
            lesson = os.path.relpath(pages / "lessons" / place.name, here)
            return f"[{words}]({Path(lesson).as_posix()}{anchor or ''})"
        return f"[{words}](path:{path})"

    content[0] = _LINK.sub(link, content[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Copy before Sphinx collects its pages, and change links before it reads one."""
    app.connect("builder-inited", copy_lessons)
    app.connect("source-read", link_to_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
