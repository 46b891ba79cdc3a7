"""Tests that drive real notebooks in Chromium."""
