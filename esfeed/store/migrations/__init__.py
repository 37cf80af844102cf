"""Alembic's folder: one file a step, under ``versions``; run by :func:`esfeed.store.upgrade.migrate`."""
