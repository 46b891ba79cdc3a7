"""What unfolds under the picture: each panel shows one thing more about it."""
"""What unfolds under the explorer's figure: each panel is told a `Scene` while it is open."""
