"""The settings: types of values, sections, and the reader of the file."""
