"""The sinks, one package for each kind of target. Each implements :class:`esfeed.ports.Sink`."""
