"""Decides which events a sink receives, and which parts of them it sees."""
