"""Text that is JSON: read, compared and cut into lines."""
