"""The matplotlib side: artists made once, updated in place, and drawn fast on a page.

It is handed renderings and computes none.
"""
