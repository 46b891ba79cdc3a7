"""What unfolds under the picture: each panel shows one thing more about it."""
