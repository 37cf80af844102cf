"""Which events go where, in which shape, and whose they are."""
