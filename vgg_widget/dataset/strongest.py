"""Where `StrongestImages` and `SeenImages` were before; they can still be imported from here."""

from vgg_widget.dataset.top_images import SeenImages, StrongestImages

__all__ = ["SeenImages", "StrongestImages"]
