"""What a page needs to paint pictures by itself; it knows no widget."""
