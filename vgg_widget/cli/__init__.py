"""The `vgg-widget` command, and what it serves."""

from vgg_widget.cli.command import main

__all__ = ["main"]
