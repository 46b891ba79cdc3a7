"""What unfolds under the explorer's figure: each panel is told a `Scene` while it is open."""
