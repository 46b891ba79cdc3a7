"""`Provenance`: the weights that a result was computed with; every picture names its source."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Provenance:
    """The origin of a network's weights.

    Parameters
    ----------
    source : str
        ``"imagenet"``, ``"kmeans"``, ``"hed"``, ``"random"``, ``"file"``, ``"state_dict"``,
        ``"model"`` or ``"arrays"``.
    label : str
        A few words for captions and titles, such as ``"random weights (seed 0)"``.
    path : str or None
        The file they were read from; None if they were computed.
    digest : str
        ``"algorithm:hex"`` of the file, or of the numbers if there is no file.
    message : str
        What to know before trusting the picture, in one or more sentences; empty if the weights
        are those that were asked for.
    network : str
        The name of the weights' network, such as ``"vgg16"``; empty for a model of your own.
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
        """Restore the object from a result of `to_dict`, ignoring keys of later versions."""
        known = {name: fields[name] for name in cls.__slots__ if name in fields}
        return cls(**known)
