"""Brings a state's schema up to date: the steps in ``migrations``, by Alembic."""

from __future__ import annotations

from pathlib import Path

import alembic.command
import alembic.config
import alembic.script
import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext
from alembic.util.exc import CommandError

from esfeed.errors import StateError


def migrate(engine: sa.Engine) -> None:
    """Runs the steps that the database lacks. Raises ``StateError`` where it has steps that this esfeed lacks."""
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
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        config.attributes["connection"] = connection
        try:
            alembic.command.upgrade(config, "head")
        except CommandError as error:
            raise StateError(f"the state {engine.url.database} cannot be brought up to date", str(error)) from error
