"""`vgg-widget app`: the explorer as a page of its own, without code."""

from vgg_widget.app.server import run_app

__all__ = ["run_app"]
