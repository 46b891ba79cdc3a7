"""`python -m vgg_widget`: the `vgg-widget` command."""

import sys

from vgg_widget.cli.command import main

if __name__ == "__main__":
    sys.exit(main())
