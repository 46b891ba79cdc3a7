"""The former location of `StrongestImages` and `SeenImages`, kept for existing imports."""

from vgg_widget.dataset.top_images import SeenImages, StrongestImages

__all__ = ["SeenImages", "StrongestImages"]
