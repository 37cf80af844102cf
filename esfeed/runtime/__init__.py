"""A feed put together from its settings, run, and looked at."""
