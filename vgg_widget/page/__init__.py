"""Self-contained pages: painting pictures without a kernel. This package knows no widget."""
