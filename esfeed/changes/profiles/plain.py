"""The profile for any index: a document is a resource, visible to everybody."""

from __future__ import annotations

from esfeed.model.event import Change, Owners, View


class PlainProfile:
    """Satisfies :class:`esfeed.ports.Profile`. Assumes nothing about the documents."""

    name = "plain"
    transparent = True
    """Each document keeps its own id and is visible to everybody, whatever it contains."""

    def describe(self, change: Change) -> tuple[str, View | None]:
        """The document's own id, and no view."""
        return change.key.id, None

    def owners(self, change: Change) -> Owners | None:
        """None: the meaning of the fields is unknown."""
        return None
