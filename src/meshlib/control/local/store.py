"""
`Store`: what can be done to the database, each in one transaction.

Every change that somebody could want to hear of moves the change counter; a heartbeat does not.
A document's version is the counter at the time it was written, so it never comes back.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from meshlib.control.local import rows
from meshlib.control.local.database import Session, prepare
from meshlib.control.local.folder import private_folder
from meshlib.control.local.view import Instance, View
from meshlib.control.registry import Document


class Store:
    """The mesh's database in a private folder.

    Raises ConfigError for a folder or file that is not private, or of another schema;
    RegistryUnavailable, here and in every method, when the file cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = prepare(private_folder(folder))
        self._session = Session(self.path)

    def reader(self) -> Reader:
        """A connection of its own, which notices what the others write."""
        return Reader(Session(self.path))

    def view(self) -> View:
        """Everything, at one moment."""
        with self._session.read() as db:
            return rows.view(db, {})

    def close(self) -> None:
        """Let go of the file."""
        self._session.close()

    def enter(self, instance: Instance) -> None:
        """Write an instance; one of the same service and id is replaced."""
        with self._session.write() as db:
            rows.put_instance(db, instance)

    def beat(self, instances: Iterable[Instance]) -> tuple[Instance, ...]:
        """Keep instances alive as their owner wants them.

        Rows that vanished are written again.  Returns those that belong to somebody else now.
        """
        with self._session.write() as db:
            return tuple(each for each in instances if not rows.keep(db, each))

    def reap(self, instances: Iterable[Instance]) -> int:
        """Remove the rows that had no heartbeat since these were read; returns how many."""
        statement = "DELETE FROM instances WHERE token = ? AND expires_at = ?"
        return self._delete(statement, [(each.token, each.expires_at) for each in instances])

    def leave(self, instances: Iterable[Instance]) -> int:
        """Remove rows whatever their last heartbeat was: their owner left, or has ended."""
        statement = "DELETE FROM instances WHERE token = ?"
        return self._delete(statement, [(each.token,) for each in instances])

    def get(self, kind: str, name: str) -> Document | None:
        """One document."""
        with self._session.read() as db:
            return rows.document(db, kind, name)

    def put(self, document: Document, *, cas: bool = False) -> bool:
        """Write a document; with `cas` only if its version is the stored one, 0 for none.

        Returns whether the store now holds it.  It does so durably: configuration outlives a
        power cut, unlike instances, which do not outlive the boot.
        """
        rows.encoded(document)  # before anything is locked
        with self._session.write(durable=True) as db:
            stored = rows.document(db, document.kind, document.name)
            if cas and document.version != (stored.version if stored else 0):
                return False
            rows.put_document(db, document)
        return True

    def delete(self, kind: str, name: str) -> bool:
        """Remove a document; returns whether there was one."""
        statement = "DELETE FROM documents WHERE kind = ? AND name = ?"
        return self._delete(statement, [(kind, name)], durable=True) > 0

    def _delete(
        self, statement: str, keys: list[tuple[object, ...]], *, durable: bool = False
    ) -> int:
        with self._session.write(durable=durable) as db:
            gone = sum(db.execute(statement, key).rowcount for key in keys)
            if gone:
                rows.change(db)
        return gone


class Reader:
    """Reads the whole store, and knows cheaply when there is nothing new to read."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._seen: tuple[int, int] | None = None
        self._count = -1
        self._parsed: rows.Parsed = {}

    def moved(self) -> bool:
        """Whether anything changed since the last `view`; heartbeats do not count."""
        seen = self._session.data_version()
        if seen == self._seen:
            return False
        replaced = self._seen is None or seen[0] != self._seen[0]
        with self._session.read() as db:
            count = rows.count(db)
        if replaced or count != self._count:
            return True
        self._seen = seen
        return False

    def view(self) -> View:
        """Everything, at one moment."""
        seen = self._session.data_version()
        with self._session.read() as db:
            view = rows.view(db, self._parsed)
        self._seen, self._count = seen, view.count
        self._parsed = {(each.kind, each.name, each.version): each for each in view.documents}
        return view

    def close(self) -> None:
        """Let go of the file."""
        self._session.close()
