"""Turns documents into events for the log."""
