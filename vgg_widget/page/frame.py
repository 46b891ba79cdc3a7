"""`FramedPage`: a page without a kernel as the output of a notebook's cell."""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass

from vgg_widget.support.messages import briefly, megabytes

DEFAULT_HEIGHT = 900
"""CSS pixels that fit controls, pictures and filmstrip."""

_LEAST_HEIGHT, _MOST_HEIGHT = 200, 4000


def checked_height(height: int) -> int:
    """Return a frame's height in CSS pixels; raise for an invalid one, before any work."""
    is_whole = isinstance(height, int) and not isinstance(height, bool)
    if not is_whole or not _LEAST_HEIGHT <= height <= _MOST_HEIGHT:
        raise ValueError(
            f"height {briefly(height)} is not a frame height: choose whole pixels from "
            f"{_LEAST_HEIGHT} to {_MOST_HEIGHT}, such as {DEFAULT_HEIGHT}."
        )
    return height


@dataclass(frozen=True, slots=True, repr=False)
class FramedPage:
    """A page that a notebook keeps in a cell's output, and shows in its own frame.

    Parameters
    ----------
    page : str
        The page, as HTML.
    title : str
        The frame's name for screen readers.
    height : int
        In CSS pixels; the frame scrolls to the rest.
    picture : bytes
        A PNG for viewers that show no HTML, such as in a PDF.
    """

    page: str
    title: str
    height: int
    picture: bytes

    def __repr__(self) -> str:
        return f"<{self.title}: a page of {megabytes(len(self.page))}, which a notebook shows>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        picture = base64.b64encode(self.picture).decode()
        return {"text/html": self._element(), "image/png": picture, "text/plain": repr(self)}

    def _element(self) -> str:
        # The page runs its script in its own origin and reaches neither the notebook nor a server.
        # It may save its picture and copy its code. The text is for viewers of HTML without frames,
        # such as JupyterLab with an untrusted notebook.
        element = (
            f'<iframe srcdoc="{html.escape(self.page)}" title="{html.escape(self.title)}" '
            'sandbox="allow-scripts allow-downloads" allow="clipboard-write" '
            f'style="width: 100%; height: {self.height}px; border: 0">'
            "Feature maps to explore are hidden here: trust this notebook.</iframe>"
        )
        # A name may contain an unpaired UTF-16 surrogate, which no message can.
        return element.encode("utf-8", "replace").decode()
