"""Options that several commands have in common."""

from __future__ import annotations

import argparse


def add_server_options(command: argparse.ArgumentParser) -> None:
    """Add what the demo and the app have in common."""
    command.add_argument("image", nargs="?", metavar="IMAGE", help="a picture file; else a sample")
    command.add_argument("--port", type=int, default=0, help="the server's port; else any free one")
    command.add_argument("--no-browser", action="store_true", help="only print the address")


def add_network_options(command: argparse.ArgumentParser) -> None:
    """Add what the app and a picture of a layer have in common."""
    command.add_argument(
        "--weights", default="auto", help="auto, imagenet, kmeans, random or your own file"
    )
    command.add_argument("--size", type=int, default=224, help="pixels of the shorter side")
