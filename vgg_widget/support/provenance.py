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


def same_weights(one: Provenance, other: Provenance) -> bool:
    """Return whether both are of the same weights: by digest, or by label if one has none.

    Files of earlier versions have no digest of a user's own model.
    """
    if one.digest and other.digest:
        return one.digest == other.digest
    return one.label == other.label


def weights_words(one: Provenance, other: Provenance) -> tuple[str, str]:
    """Return what two weights are called: their labels, equal only for the same weights."""
    if same_weights(one, other):
        return one.label, one.label
    if one.label == other.label:
        # A model may be trained further without changing its label.
        return f"{one.label} ({one.digest})", f"{other.label} ({other.digest})"
    return one.label, other.label
