"""A profile, as another package has it."""

from __future__ import annotations

from esfeed.model.event import Change, Owners, View
from esfeed.ports import Profile


class Orders:
    """Orders are known by their number, and belong to a customer."""

    name = "orders"

    def describe(self, change: Change) -> tuple[str, View | None]:
        return change.key.id, None

    def owners(self, change: Change) -> Owners | None:
        return Owners(owner="customer")


def made() -> Profile:
    """A profile by its structure: there is no base class."""
    return Orders()
