"""The page's scripts, as the one text that a widget or a page takes."""

from __future__ import annotations

import re
from importlib.resources.abc import Traversable


def joined(*modules: Traversable) -> str:
    """Return JavaScript modules as one, so that a later one can use what an earlier one exports.

    There is no build step: imports from other modules and the word ``export`` are taken out, but
    for the last module's ``export default``.
    """
    text = "\n".join(module.read_text(encoding="utf-8") for module in modules)
    text = re.sub(r"^import [^;]*;\n", "", text, flags=re.MULTILINE)
    return re.sub(r"^export (?!default)", "", text, flags=re.MULTILINE)
