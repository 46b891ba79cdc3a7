"""Fail where a notebook holds outputs: `python tests/notebook_outputs.py [NOTEBOOK ...]`.

Without arguments, of all notebooks that git knows. With outputs, a change of a sentence is a change
of a megabyte. The one that is kept with its pictures is the gallery.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

GALLERY = "gallery.ipynb"


def main(names: list[str]) -> int:
    """Print what is wrong; return 1 where anything is."""
    paths = [Path(name) for name in names] or _known()
    wrong = [line for path in paths if path.name != GALLERY for line in _outputs(path)]
    for line in wrong:
        print(line)
    return int(bool(wrong))


def _known() -> list[Path]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.ipynb"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := Path(name)).is_file()]


def _outputs(path: Path) -> list[str]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    clear = f"clear them with `jupyter nbconvert --clear-output --inplace {path}`."
    return [
        f"{path}: cell {number} was saved with its outputs or its number: {clear}"
        for number, cell in enumerate(cells, start=1)
        if cell.get("outputs") or cell.get("execution_count")
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
