"""What each visitor's kernel runs."""

from __future__ import annotations

import html
import sys
import traceback
from typing import Any

from IPython.display import HTML

from vgg_widget.explorer.errors import ErrorMessage
from vgg_widget.explorer.layer_explorer import LayerExplorer
from vgg_widget.images import sample_image

# As wide as a picture is high enough to be seen with its controls on a usual screen.
_WIDEST = "1244px"


def page_content(image: str | None, *, weights: str, size: int, network: str = "vgg19") -> Any:
    """Return the explorer of a picture or of the sample, or in a sentence why there is none."""
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
        # The page would be blank. Whoever runs the server reads the details where it runs.
        traceback.print_exc(file=sys.__stderr__)
        words = html.escape(ErrorMessage.of(error).sentence)
        return HTML(  # type: ignore[no-untyped-call]
            f'<p class="vgg-failure" role="alert">There is no explorer: {words} '
            "Once that is mended, reload the page.</p>"
        )
