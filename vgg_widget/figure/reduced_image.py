"""A picture with far more pixels than the screen has for it, drawn in the time of a small one."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.image import AxesImage
from PIL import Image


class ReducedImage(AxesImage):
    """An RGBA image that is drawn from a smaller copy of itself while that is sharp enough.

    matplotlib filters every pixel at every drawing: 0.2 s for a grid of 4 million, of which the
    screen shows a hundredth. The copy's pixels are the means of whole squares of pixels, weighted
    by their opacity; zoomed in, the picture is drawn from its own pixels again.
    """

    _copies: tuple[Any, dict[int, npt.NDArray[np.uint8]]] = (None, {})

    def make_image(
        self, renderer: Any, magnification: float = 1.0, unsampled: bool = False
    ) -> tuple[Any, float, float, Any]:
        """Return the drawn pixels and their place, as `AxesImage` does."""
        pixels: Any = self._A  # type: ignore[has-type]
        factor = self._factor(pixels, magnification)
        if factor < 2 or unsampled or self.get_interpolation() == "nearest":
            return super().make_image(renderer, magnification, unsampled)
        of, copies = self._copies
        if of is not pixels:
            copies = {}
            self._copies = pixels, copies
        if factor not in copies:
            copies[factor] = np.asarray(Image.fromarray(np.asarray(pixels)).reduce(factor))
        self._A = copies[factor]
        try:
            return super().make_image(renderer, magnification, unsampled)
        finally:
            self._A = pixels

    def _factor(self, pixels: Any, magnification: float) -> int:
        """Return how many of the picture's pixels fall on one of the screen's, along a side."""
        left, right, bottom, top = self.get_extent()
        (x0, y0), (x1, y1) = self.axes.transData.transform([(left, bottom), (right, top)])
        across, down = abs(x1 - x0) * magnification, abs(y1 - y0) * magnification
        height, width = pixels.shape[:2]
        return int(min(width / max(across, 1), height / max(down, 1)))
