"""How the layers of somebody's own model are grouped: by nested model, and by what names share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

# Up to the last word that says "the so-manieth part": conv2_block1 of conv2_block1_1_conv, block_3
# of block_3_expand, …stage_0_block_0 of ConvNeXt's. Else up to a number: conv_dw_1 of conv_dw_1_bn.
_NUMBERED = (
    re.compile(
        r"(.*(?:block|stage|layer|cell|unit|module|group|level|expanded_conv)_?\d+[a-z]?)(?=_|$)"
    ),
    re.compile(r"(.*?_\d+)(?=_|$)"),
)


@dataclass(frozen=True, slots=True)
class Named:
    """One call of a layer, as far as its group depends on it.

    Parameters
    ----------
    path : str
        The nested models that it is in, such as ``"augment"`` or ``"base/stem"``; empty outside.
    name : str
        Its name there.
    class_name : str
        Of the layer, such as ``"Conv2D"``.
    leads : bool
        Whether it is a convolution or the like, which others are attached to.
    """

    path: str
    name: str
    class_name: str
    leads: bool

    @property
    def automatic(self) -> bool:
        """Whether Keras made the name up from the class, as in ``"max_pooling2d_3"``."""
        stem = re.sub(r"(_\d+)?(#\d+)?(\[\d+\])?$", "", self.name)
        return stem.replace("_", "") == self.class_name.lower()


def groups(layers: Sequence[Named]) -> list[str]:
    """Return the group of each layer.

    Parameters
    ----------
    layers : sequence of Named
        In network order.

    Returns
    -------
    list of str
        The part of the name that it shares with other layers, such as ``"conv2_block1"``,
        ``"block_3"`` or ``"stem"``, after the nested model's name where there is one; the nested
        model's alone where nothing is shared; the layer's own name where it stands alone. A
        normalisation, activation or pool without a name of its own belongs to what came before.
    """
    prefixes = [_prefix(layer) for layer in layers]
    members = Counter(zip((layer.path for layer in layers), prefixes, strict=True))
    parts = Counter(path for path, prefix in members if prefix)
    found: list[str] = []
    for index, (layer, prefix) in enumerate(zip(layers, prefixes, strict=True)):
        before = found[-1] if index and layers[index - 1].path == layer.path else ""
        if (
            prefix
            and members[layer.path, prefix] > 1
            and not (layer.path and parts[layer.path] < 2)
        ):
            found.append(f"{layer.path}/{prefix}" if layer.path else prefix)
        elif layer.automatic and not layer.leads and before:
            found.append(before)
        else:
            found.append(layer.path or layer.name)
    return found


def _prefix(layer: Named) -> str:
    if layer.automatic:
        return ""
    numbered = next(filter(None, (pattern.match(layer.name) for pattern in _NUMBERED)), None)
    return numbered[1] if numbered else layer.name.split("_", 1)[0]
