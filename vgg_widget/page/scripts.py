"""Joins the page's scripts into one text for a widget or a page."""

from __future__ import annotations

import re
from importlib.resources.abc import Traversable


def joined(*modules: Traversable) -> str:
    """Join JavaScript modules into one, so that a later one can use an earlier one's exports.

    There is no build step: imports from other modules and the word ``export`` are removed, except
    for the last module's ``export default``.
    """
    text = "\n".join(module.read_text(encoding="utf-8") for module in modules)
    text = re.sub(r"^import [^;]*;\n", "", text, flags=re.MULTILINE)
    return re.sub(r"^export (?!default)", "", text, flags=re.MULTILINE)
