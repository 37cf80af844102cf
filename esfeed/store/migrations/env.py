"""Runs the steps over the connection that ``esfeed.store.upgrade`` hands in; there is no command line for it."""

from alembic import context

from esfeed.store.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
