"""What can go wrong with stored data. `str()` of each is one line a learner may read: what, why, what to do."""

from __future__ import annotations


class DatabaseError(Exception):
    """Base of every error that `db` raises on purpose."""


class SchemaTooNew(DatabaseError):  # noqa: N818
    """The database was written by a newer version of this program; nothing in it was touched."""


class DatabaseDamaged(DatabaseError):  # noqa: N818
    """The file is not a database, or pages of it can't be read."""


class DatabaseBusy(DatabaseError):  # noqa: N818
    """Another program or thread kept the database locked longer than we wait."""


class DatabaseUnavailable(DatabaseError):  # noqa: N818
    """The database can't be opened or written: path, permission, disk, network, or a missing driver."""


class NotFound(DatabaseError, LookupError):  # noqa: N818
    """No row has this id (any more), or it belongs to somebody else."""
