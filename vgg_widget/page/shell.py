"""What every page in one file has: its head, its style and scripts, and a strip of layers."""

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
    """Yield a page, piece by piece, that loads nothing and runs its own script alone.

    Parameters
    ----------
    title : str
        Of the window.
    body : str
        What is seen before the script has run, as HTML.
    style : Traversable
        Of what is on this page alone.
    scripts : iterable of Traversable
        Modules in the order in which they use one another, after those that all such pages have. A
        page without any runs no script at all.
    data : iterable of str
        Elements that the scripts read.
    """
    styles = "\n".join(one.read_text("utf-8") for one in (_HERE.joinpath("shell.css"), style))
    script, allowed = "", ""
    own = list(scripts)
    if own:
        # Not a module: nothing of it is seen by any other script, and no older browser is left out.
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
    """Return what a reader must know of the weights: in a few words, and at length; or nothing.

    The message of `Provenance` is for whoever computed the maps: it may name folders of that
    person's computer, and what to do there.
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
    """Return the element that shows the notice, unfolded by a click; empty without one."""
    headline, message = map(html.escape, notice(weights))
    if not headline:
        return ""
    return (
        f'<details class="notice" id="notice"><summary><b>{headline}</b> · details</summary>'
        f"<div>{message}</div></details>\n"
    )


def other_names(activations: Any, layer: str) -> list[str]:
    """Return the other names of the same maps, which an address may have, too."""
    names = [*activations.names_in("torchvision", layer), *activations.names_in("paper", layer)]
    plain = activations.plain_name(layer)
    return [name for name in names if name != layer and activations.plain_name(name) == plain]


def layer_blocks(layers: Sequence[LayerInfo]) -> list[dict[str, Any]]:
    """Return the network's blocks: the title of each, and its layers' buttons and places."""
    blocks = []
    for title, members in groupby(enumerate(layers), key=lambda one: one[1].block):
        words = title.replace("block", "block ") if title[-1:].isdigit() else title
        buttons, number = [], 0
        for place, layer in members:
            pool = layer.kind == "pool"
            number += not pool
            # Of layers that are left out, the others keep their numbers.
            own = layer.name.rpartition("conv")[2]
            label = "pool" if pool else own if own.isdigit() else str(number)
            buttons.append([label, place])
        blocks.append({"title": words, "buttons": buttons})
    return blocks
