"""Link names of the package in running text to their descriptions.

Docstrings write `Rendering` and pages write ``Rendering``, whatever the module, and both
are readable without Sphinx. A name without a description, such as an argument's, stays unchanged.
"""

from __future__ import annotations

from typing import cast

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode


def described(env: BuildEnvironment, name: str) -> str | None:
    """Return the full name of the only object described under a name, or None."""
    objects = cast("PythonDomain", env.get_domain("py")).objects
    plain = name.removesuffix("()").lstrip("@")
    if f"vgg_widget.{plain}" in objects:
        return f"vgg_widget.{plain}"
    found = [
        full
        for full, entry in objects.items()
        if not entry.aliased and (full == plain or full.endswith(f".{plain}"))
    ]
    if len(found) != 1:
        return None
    # A method needs its class: `before_relu` alone could also be a trait.
    of_a_class = objects[found[0]].objtype not in ("class", "exception", "function")
    return None if of_a_class and "." not in plain else found[0]


def _reference(
    app: Sphinx, env: BuildEnvironment, page: str, name: str, content: nodes.Element
) -> nodes.reference | None:
    full = described(env, name)
    if full is None:
        return None
    entry = cast("PythonDomain", env.get_domain("py")).objects[full]
    return make_refnode(app.builder, page, entry.docname, entry.node_id, content, full)


def _resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element
) -> nodes.Element | None:
    """Resolve a word in backticks in a docstring; other references must be right."""
    if node.get("reftype") != "obj":
        return None
    found = _reference(app, env, str(node["refdoc"]), str(node["reftarget"]), content)
    return found if found is not None else nodes.literal("", content.astext())


class _LinkedNames(SphinxPostTransform):
    """Link words in double backticks (in Markdown: single) that name an object."""

    default_priority = 200

    def run(self, **_: object) -> None:
        for literal in list(self.document.findall(nodes.literal)):
            name = literal.astext()
            inside = isinstance(literal.parent, nodes.reference | pending_xref | nodes.title)
            if inside or not name[:1].strip("@_").isalpha() or len(literal.children) != 1:
                continue
            found = _reference(self.app, self.env, self.env.docname, name, literal.deepcopy())
            if found is not None:
                literal.replace_self(found)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register both kinds of links."""
    app.connect("missing-reference", _resolve)
    app.add_post_transform(_LinkedNames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
