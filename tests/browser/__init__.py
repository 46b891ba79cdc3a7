"""Tests that drive notebooks and pages in Chromium and Firefox."""
