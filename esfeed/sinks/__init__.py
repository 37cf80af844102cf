"""Where events go: one small file a target, each holding to :class:`esfeed.ports.Sink`."""
