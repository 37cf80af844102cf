"""Tests of one part at a time: no cluster, no network but 127.0.0.1."""
