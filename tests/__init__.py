"""Tests; see CONTRIBUTING for how to run them against which engines."""
