"""What a page needs to paint pictures by itself, and the explorer as one; it knows no widget."""
