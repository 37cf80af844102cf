"""The profile for any index: a document is a resource, and everybody's."""

from __future__ import annotations

from esfeed.model.event import Change, Owners, View


class PlainProfile:
    """Satisfies :class:`esfeed.ports.Profile`: nothing about the documents is assumed."""

    name = "plain"
    transparent = True
    """Each document is told under its own id, to everybody, whatever is in it."""

    def describe(self, change: Change) -> tuple[str, View | None]:
        """The document's own id, and no view."""
        return change.key.id, None

    def owners(self, change: Change) -> Owners | None:
        """None: what a document's fields mean is not known."""
        return None
