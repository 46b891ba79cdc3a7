"""From one picture to a set of them: what excites each channel, over thousands of images."""

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
