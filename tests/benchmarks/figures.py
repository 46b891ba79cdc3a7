"""The results of benchmarks: named figures, and the file that stores them."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".benchmarks"

_MEASURED_WITH = (
    "ipympl",
    "jupyterlab",
    "keras",
    "matplotlib",
    "numpy",
    "onnxruntime",
    "openvino",
    "tensorflow",
    "torch",
)


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Parameters
    ----------
    group, name : str
        The group in the table, and the line in the group; together they identify the figure.
    value : float
        The median, if measured more than once.
    unit : str
        ``"s"``, ``"ms"``, ``"MB"`` (10⁶ bytes), ``"kB"``, ``"/s"``, or ``""`` for a bare number.
    low, high : float, optional
        The smallest and largest measured value.
    """

    group: str
    name: str
    value: float
    unit: str = "s"
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, group: str, name: str, values: Sequence[float], unit: str = "s") -> Figure:
        """Make a figure of several measured values."""
        return cls(group, name, statistics.median(values), unit, min(values), max(values))


def save(figures: Iterable[Figure], path: Path) -> None:
    """Write figures, with the machine and package versions that they were measured on."""
    packages = {}
    for name in _MEASURED_WITH:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cores": os.cpu_count(),
            "processor": _processor(),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "packages": packages,
        "figures": [asdict(figure) for figure in figures],
    }
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


def load(path: Path) -> list[Figure]:
    """Read the figures that `save` wrote."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return [Figure(**figure) for figure in content["figures"]]


def _processor() -> str:
    """Return the processor's name, which `platform` does not give on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
