"""Sets of images: the images, out of thousands, that excite each channel most."""

from vgg_widget.dataset.page import WrittenPage, write_page
from vgg_widget.dataset.result import TopActivations
from vgg_widget.dataset.top_activations import top_activations
from vgg_widget.dataset.top_images import StrongestImages

__all__ = [
    "StrongestImages",
    "TopActivations",
    "WrittenPage",
    "top_activations",
    "write_page",
]
