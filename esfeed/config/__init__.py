"""The settings: kinds of value, sections, and reading the file."""
