"""
The SQLite file: creating it whole, opening it safely, reading and writing in transactions.

A database is built under another name and linked into place, so that nobody ever sees half of
one.  From then on it is only opened, never created: a file that vanished or went bad is an error
that names it.  WAL keeps readers and the writer out of each other's way, and a process that is
killed leaves at worst an unfinished transaction, which the next one to look does not see.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from meshlib.control.local.atfork import ForkLock
from meshlib.control.local.folder import WHERE
from meshlib.control.local.rows import SCHEMA, SCHEMA_VERSION
from meshlib.errors import ConfigError, RegistryUnavailable

log = logging.getLogger("meshlib.control")

FILE = "mesh.db"
BUSY = 5.0
"""Seconds to wait for another process's transaction; ours last a millisecond."""
_INHERITED: list[sqlite3.Connection] = []
"""Connections that came through a fork nobody announced: neither used nor closed here."""


def prepare(folder: Path) -> Path:
    """Create the database in a private folder if there is none; returns its path.

    Raises ConfigError for a file that others may read or that is of another schema,
    RegistryUnavailable for one that is damaged or cannot be created.
    """
    path = folder / FILE
    if not os.path.lexists(path):
        _create(path)
    _check_file(path)
    with _translated(path), closing(_open(path)) as connection:
        _check_schema(path, connection)
    return path


def _create(path: Path) -> None:
    try:
        handle, name = tempfile.mkstemp(prefix=".new-", suffix=".db", dir=path.parent)
    except OSError as exc:
        raise _unavailable(path, exc) from exc
    try:
        os.fchmod(handle, 0o600)
        os.close(handle)
        with _translated(path), closing(_open(Path(name))) as connection:
            connection.execute("PRAGMA journal_mode = WAL")  # remembered by the file
            connection.executescript(SCHEMA)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        with suppress(FileExistsError):  # another process was first: its file serves as well
            os.link(name, path)
    finally:
        os.unlink(name)  # noqa: PTH108 - of the same kind as the calls above


def _check_file(path: Path) -> None:
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(str(path), stat.filemode(found.st_mode), "a regular file")
    if found.st_uid != os.geteuid():
        raise ConfigError(f"{path}: owner", found.st_uid, f"uid {os.geteuid()}")
    if found.st_mode & 0o077:
        mode = f"{found.st_mode & 0o777:04o}"
        raise ConfigError(f"{path}: mode", mode, "0600", hint=f"chmod 600 {path}")


def _check_schema(path: Path, connection: sqlite3.Connection) -> None:
    verdict = _one(connection, "PRAGMA quick_check(1)")
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)
    version = _one(connection, "PRAGMA user_version")
    if version == 0:
        raise sqlite3.DatabaseError("it is not a database of meshlib's")
    if version != SCHEMA_VERSION:
        raise ConfigError(
            f"{path}: user_version",
            version,
            f"schema version {SCHEMA_VERSION}",
            hint="a newer meshlib wrote it: upgrade this one, or give it a folder of its own"
            " (MESHLIB_HOME)",
        )


def _open(path: Path) -> sqlite3.Connection:
    """Open a file that exists.

    NORMAL means no fsync at a commit: a killed process loses nothing, a power cut may lose the
    last transactions but never the file's consistency.  `Session.write` asks for more if it must.
    """
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw",
        uri=True,
        timeout=BUSY,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _one(connection: sqlite3.Connection, statement: str) -> object:
    return connection.execute(statement).fetchone()[0]


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as exc:
        raise _unavailable(path, exc) from exc


def _unavailable(path: Path, exc: Exception) -> RegistryUnavailable:
    damaged = isinstance(exc, sqlite3.DatabaseError) and not isinstance(
        exc, sqlite3.OperationalError
    )
    hint = f"see that its folder exists, is yours, is writable and has room; {WHERE}"
    if damaged:
        hint = f"stop what uses it and move {path} away (with -wal and -shm): a new one is made"
    return RegistryUnavailable(f"cannot use the mesh's store {path}", why=str(exc), hint=hint)


class Session:
    """One connection, opened when first used, for one thread at a time.

    It is closed before a fork and opened again on both sides; it is opened anew when the file
    was replaced, and after every error.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.generation = 0
        """Grows with every opening: what was remembered of an older connection is void."""
        self._lock = ForkLock(9, before=self._close)
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int, int] | None = None

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """See one moment of the database.  Raises RegistryUnavailable."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def write(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """Change it, wholly or not at all; `durable` outlives a power cut.

        Raises RegistryUnavailable, also when another process keeps the store locked too long.
        """
        with self._lock:
            with self._checked() as connection:
                connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            with self._transaction("BEGIN IMMEDIATE") as connection:
                yield connection

    def data_version(self) -> tuple[int, int]:
        """What differs after any other connection has written; costs microseconds."""
        with self._lock, self._checked() as connection:
            return self.generation, int(connection.execute("PRAGMA data_version").fetchone()[0])

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        with self._lock:
            self._close()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._lock, self._checked() as connection:
            connection.execute(begin)
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def _checked(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._current()
        except (sqlite3.Error, OSError) as exc:
            self._close()
            raise _unavailable(self.path, exc) from exc

    def _current(self) -> sqlite3.Connection:
        found = self.path.stat()
        here = (os.getpid(), found.st_dev, found.st_ino)
        if self._connection is None or here != self._opened:
            self._close()
            self._connection = _open(self.path)
            self._opened = here
            self.generation += 1
        return self._connection

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None or self._opened is None:
            return
        if self._opened[0] != os.getpid():
            _INHERITED.append(connection)
        else:
            connection.close()
