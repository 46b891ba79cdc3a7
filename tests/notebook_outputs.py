"""Fail if a notebook contains outputs: `python tests/notebook_outputs.py [NOTEBOOK ...]`.

Without arguments, check all notebooks that git does not ignore. In a notebook with outputs, a
changed sentence is a diff of a megabyte. Only the gallery is kept with its outputs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

GALLERY = "gallery.ipynb"


def main(names: list[str]) -> int:
    """Print the cells that have outputs; return 1 if there are any."""
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
        f"{path}: cell {number} was saved with its outputs or execution count: {clear}"
        for number, cell in enumerate(cells, start=1)
        if cell.get("outputs") or cell.get("execution_count")
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
