"""``.. traits:: module.Class``: a table of a widget's traits, generated from the class."""

from __future__ import annotations

import importlib

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from traitlets import Enum, HasTraits, Instance, TraitType

from vgg_widget.explorer.base import LOOKS
from vgg_widget.explorer.settings import SETTINGS

# Traits of an explorer of one image that a comparison lacks.
_OF_SOME = ("top_images",)
_HEAD = ("trait", "type", "default", "meaning")


class TraitTable(SphinxDirective):
    """Table with one row per trait: settings first, then appearance, then results."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        module, _, name = self.arguments[0].rpartition(".")
        widget: type[HasTraits] = getattr(importlib.import_module(module), name)
        traits = widget.class_traits()
        made = [key for key, trait in traits.items() if trait.read_only and trait.help]
        group = nodes.tgroup(cols=len(_HEAD))
        group += [nodes.colspec(colwidth=1) for _ in _HEAD]
        group += nodes.thead("", _row(*([nodes.Text(word)] for word in _HEAD)))
        body = nodes.tbody()
        more = [key for key in _OF_SOME if key in traits]
        for key in (*SETTINGS, *LOOKS, *more, *made):
            trait = traits[key]
            default = [] if trait.read_only else [nodes.literal("", repr(trait.default()))]
            words, meaning = self.state.inline_text(trait.help, self.lineno)
            body += _row([nodes.literal("", key)], _type(trait), default, [*words, *meaning])
        group += body
        return [nodes.table("", group, classes=["traits"])]


def _type(trait: TraitType[object, object]) -> list[nodes.Node]:
    if isinstance(trait, Enum):
        return [nodes.Text(" | ".join(map(repr, trait.values or ())))]
    if isinstance(trait, Instance):
        # "an Activations", "a Rendering or None"
        name = trait.info().split()[1]
        return [nodes.literal("", name), nodes.Text(", read-only")]
    words = {
        "Unicode": "str",
        "Name": "str",
        "ColormapName": "str",
        "Bool": "bool",
        "WholeNumber": "int",
        "CFloat": "float",
        "ChannelNumbers": "tuple of int",
        "ClassName": "str or int",
        "ImageSetResult": "TopActivations or None",
        "Location": "(int, int) or None",
    }[type(trait).__name__]
    return [nodes.Text(f"{words} or None" if trait.allow_none else words)]


def _row(*cells: list[nodes.Node]) -> nodes.row:
    row = nodes.row()
    for cell in cells:
        row += nodes.entry("", nodes.paragraph("", "", *cell))
    return row


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directive."""
    app.add_directive("traits", TraitTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
