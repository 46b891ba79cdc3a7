"""What runs on a page without a kernel: it knows pictures, and no widget."""
