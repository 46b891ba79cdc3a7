"""`Provenance`: which weights a result was computed with; no picture is without its source."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a network's weights came from.

    Parameters
    ----------
    source : str
        ``"imagenet"``, ``"kmeans"``, ``"hed"``, ``"random"``, ``"file"``, ``"state_dict"``,
        ``"model"`` or ``"arrays"``.
    label : str
        A few words for captions and titles, such as ``"random weights (seed 0)"``.
    path : str or None
        The file they were read from; None where they were computed.
    digest : str
        ``"algorithm:hex"`` of the file, or of the numbers where there is no file.
    message : str
        What a person must know before believing the picture, one or more sentences; empty where
        the weights are the ones that were asked for.
    network : str
        The name of the network that they are of, such as ``"vgg16"``; empty for a model of
        somebody's own.
    """

    source: str
    label: str
    path: str | None = None
    digest: str = ""
    message: str = ""
    network: str = "vgg19"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-able dict."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """Make the object again from `to_dict`'s result, ignoring keys of later versions."""
        known = {name: fields[name] for name in cls.__slots__ if name in fields}
        return cls(**known)
