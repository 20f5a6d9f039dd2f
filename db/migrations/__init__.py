"""Alembic migrations: the only code that creates or changes tables. Run by `db.upgrade`."""
