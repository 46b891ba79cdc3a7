"""The `vgg-widget` command and the pages it serves."""

from vgg_widget.cli.command import main

__all__ = ["main"]
