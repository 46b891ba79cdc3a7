"""The code that each visitor's kernel runs."""

from __future__ import annotations

import html
import sys
import traceback
from typing import Any

from IPython.display import HTML

from vgg_widget.explorer.errors import ErrorMessage
from vgg_widget.explorer.layer_explorer import LayerExplorer
from vgg_widget.images import sample_image

# The width at which image and controls fit on a typical screen.
_WIDEST = "1244px"


def page_content(image: str | None, *, weights: str, size: int, network: str = "vgg19") -> Any:
    """Return the explorer of an image or of the sample, or an error message."""
    try:
        return LayerExplorer(
            sample_image() if image is None else image,
            weights=weights,
            network=network,
            size=size,
            max_width=_WIDEST,
            margin="0 auto",
        )
    except Exception as error:
        # Without this the page would be blank. Details are printed for whoever runs the server.
        traceback.print_exc(file=sys.__stderr__)
        words = html.escape(ErrorMessage.of(error).sentence)
        return HTML(  # type: ignore[no-untyped-call]
            f'<p class="vgg-failure" role="alert">The explorer cannot be shown: {words} '
            "Once that is fixed, reload the page.</p>"
        )
