"""Migrates the schema of a state with the steps in ``migrations``, by Alembic."""

from __future__ import annotations

from pathlib import Path

import alembic.command
import alembic.config
import alembic.script
import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext
from alembic.util.exc import CommandError

from esfeed.errors import StateError
from esfeed.store.database import shrink
from esfeed.store.lock import StateLock


def migrate(engine: sa.Engine) -> None:
    """Runs the steps that the database lacks.

    Raises ``StateError`` if it has steps that this esfeed lacks, or if a process that may be older uses it.
    """
    config = alembic.config.Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    script = alembic.script.ScriptDirectory.from_config(config)
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    if current == script.get_current_head():
        return
    if current is not None and current not in {step.revision for step in script.walk_revisions()}:
        raise StateError(
            f"the state {engine.url.database} was written by a newer esfeed (its schema is {current!r}, "
            f"this one knows up to {script.get_current_head()!r})",
            "run that version or a later one; a backup made before the upgrade fits this one",
        )
    if current is not None and (holder := StateLock(Path(f"{engine.url.database}.lock"), "upgrade").held_by_another()):
        raise StateError(
            f"the state {engine.url.database} is in use by {holder}, an esfeed that cannot read what this one would "
            "make of it",
            "end that process first; this one brings the state up to date at its next start",
        )
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        config.attributes["connection"] = connection
        try:
            alembic.command.upgrade(config, "head")
        except CommandError as error:
            raise StateError(f"the state {engine.url.database} cannot be brought up to date", str(error)) from error
    # A step that rewrote a large table leaves the pages of the old one, and all of its work in the write-ahead log.
    shrink(engine)
