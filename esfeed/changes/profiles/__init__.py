"""What documents of a kind mean: one module a kind, found through the entry points ``esfeed.profiles``."""
