"""The profiles: one module for each kind of document, found by the entry points ``esfeed.profiles``."""
