"""``python -m vgg_widget.learning --embedded OUT.npz``."""

from vgg_widget.learning.embedded import main

raise SystemExit(main())
