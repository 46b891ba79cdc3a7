"""The matplotlib figures: artists are made once, updated in place, and drawn fast on a page.

This package receives renderings and computes none.
"""
