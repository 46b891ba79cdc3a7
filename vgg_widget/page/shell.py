"""The parts common to all one-file pages: head, style, scripts, and a strip of layers."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import groupby
from string import Template
from typing import Any

from vgg_widget.layers import LayerInfo
from vgg_widget.page.scripts import joined
from vgg_widget.support.html import digest_of_text
from vgg_widget.support.provenance import Provenance

_HERE = files("vgg_widget.page")


def page_pieces(
    title: str,
    body: str,
    style: Traversable,
    scripts: Iterable[Traversable],
    data: Iterable[str],
) -> Iterator[str]:
    """Yield a page, piece by piece, that loads nothing and runs only its own script.

    Parameters
    ----------
    title : str
        The title of the window.
    body : str
        The content before the script has run, as HTML.
    style : Traversable
        The style sheet of this page alone.
    scripts : iterable of Traversable
        Modules in order of dependence; the modules common to all such pages come first. A page
        without modules runs no script at all.
    data : iterable of str
        Elements for the scripts to read.
    """
    styles = "\n".join(one.read_text("utf-8") for one in (_HERE.joinpath("shell.css"), style))
    script, allowed = "", ""
    own = list(scripts)
    if own:
        # Not a module: it runs in older browsers too, and its block hides it from other scripts.
        code = f'"use strict";\n{{\n{joined(_HERE.joinpath("shell.js"), *own)}\n}}\n'
        script = f"<script>{code}</script>\n"
        allowed = f"; script-src '{digest_of_text(code)}'"
    words = {
        "title": html.escape(title),
        "body": body,
        "style": styles,
        "style_digest": digest_of_text(styles),
        "script": script,
        "allowed": allowed,
    }
    before, after = _HERE.joinpath("shell.html").read_text("utf-8").split("$data\n")
    yield Template(before).substitute(words)
    yield from data
    yield Template(after).substitute(words)


def notice(weights: Provenance) -> tuple[str, str]:
    """Return what readers must know about the weights, as a headline and a text; or nothing.

    The message of `Provenance` is meant for the person who computed the maps: it may name folders
    on that person's computer, and actions to take there.
    """
    if weights.source == "kmeans":
        label = weights.label[:1].upper() + weights.label[1:]
        return (
            "Practice filters, not ImageNet weights",
            f"{label}. They were not trained to recognise anything.",
        )
    headline, _, message = weights.message.partition(": ")
    return headline, message


def notice_element(weights: Provenance) -> str:
    """Return the element for the notice, which unfolds on a click; empty if there is none."""
    headline, message = map(html.escape, notice(weights))
    if not headline:
        return ""
    return (
        f'<details class="notice" id="notice"><summary><b>{headline}</b> · details</summary>'
        f"<div>{message}</div></details>\n"
    )


def other_names(activations: Any, layer: str) -> list[str]:
    """Return other names of the same maps, which an address may also use."""
    names = [*activations.names_in("torchvision", layer), *activations.names_in("paper", layer)]
    plain = activations.plain_name(layer)
    return [name for name in names if name != layer and activations.plain_name(name) == plain]


def layer_blocks(layers: Sequence[LayerInfo]) -> list[dict[str, Any]]:
    """Return the network's blocks: each title, and the labels and indices of its layers."""
    blocks = []
    for title, members in groupby(enumerate(layers), key=lambda one: one[1].block):
        words = title.replace("block", "block ") if title[-1:].isdigit() else title
        buttons, number = [], 0
        for place, layer in members:
            pool = layer.kind == "pool"
            number += not pool
            # If some layers are left out, the others keep their numbers.
            own = layer.name.rpartition("conv")[2]
            label = "pool" if pool else own if own.isdigit() else str(number)
            buttons.append([label, place])
        blocks.append({"title": words, "buttons": buttons})
    return blocks
