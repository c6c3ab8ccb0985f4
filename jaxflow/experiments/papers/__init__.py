"""The two papers: the figures that they print, and how to run their tables."""
