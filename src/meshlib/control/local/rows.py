"""
The tables, and how a row is an `Instance` or a `Document`.

Columns stand in the order of the schema everywhere.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from meshlib.control.local.process import Process
from meshlib.control.local.view import Instance, View
from meshlib.control.registry import Document, Registration
from meshlib.errors import ConfigError
from meshlib.model import Locality

SCHEMA_VERSION = 1
SCHEMA = """
BEGIN;
CREATE TABLE changes (id INTEGER PRIMARY KEY CHECK (id = 1), count INTEGER NOT NULL);
INSERT INTO changes VALUES (1, 0);
CREATE TABLE services (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE instances (
    service TEXT NOT NULL, id TEXT NOT NULL,
    host TEXT NOT NULL, port INTEGER NOT NULL, weight INTEGER NOT NULL,
    region TEXT NOT NULL, zone TEXT NOT NULL, meta TEXT NOT NULL,
    token TEXT NOT NULL,
    boot TEXT NOT NULL, namespace TEXT NOT NULL, pid INTEGER NOT NULL, started TEXT NOT NULL,
    ttl REAL NOT NULL, expires_at REAL NOT NULL,
    passing INTEGER NOT NULL, note TEXT NOT NULL, draining INTEGER NOT NULL,
    PRIMARY KEY (service, id)
) WITHOUT ROWID;
CREATE TABLE documents (
    kind TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, version INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID;
COMMIT;
"""

Parsed = dict[tuple[str, str, int], Document]
"""Documents by kind, name and version: a version never stands for two bodies."""

_BEAT = (
    "UPDATE instances SET expires_at = ?"
    " WHERE service = ? AND id = ? AND token = ? AND passing = ? AND note = ? AND draining = ?"
)


def count(rows: sqlite3.Connection) -> int:
    """The change counter."""
    return int(rows.execute("SELECT count FROM changes").fetchone()[0])


def change(rows: sqlite3.Connection) -> int:
    """Move the change counter; returns what it is now."""
    rows.execute("UPDATE changes SET count = count + 1")
    return count(rows)


def view(rows: sqlite3.Connection, parsed: Parsed) -> View:
    """All rows; documents in `parsed` are not parsed again."""
    instances = rows.execute("SELECT * FROM instances").fetchall()
    services = rows.execute("SELECT name FROM services").fetchall()
    documents = rows.execute("SELECT * FROM documents ORDER BY kind").fetchall()
    return View(
        count=count(rows),
        instances=tuple(map(_instance, instances)),
        registered=frozenset(name for (name,) in services),
        documents=tuple(
            parsed.get((row[0], row[1], row[3])) or _document(row) for row in documents
        ),
    )


def keep(rows: sqlite3.Connection, it: Instance) -> bool:
    """Prolong one row, or write it again; False if it has another owner."""
    wishes = (it.passing, it.note, it.draining)
    if rows.execute(_BEAT, (it.expires_at, *it.key, it.token, *wishes)).rowcount:
        return True
    same_key = "SELECT token FROM instances WHERE service = ? AND id = ?"
    owner = rows.execute(same_key, it.key).fetchone()
    if owner and owner[0] != it.token:
        return False
    put_instance(rows, it)
    return True


def put_instance(rows: sqlite3.Connection, it: Instance) -> None:
    """Write one row, whoever owned it."""
    reg, proc = it.registration, it.process
    row = (
        *(reg.service, reg.id, reg.host, reg.port, reg.weight),
        *(reg.locality.region, reg.locality.zone, json.dumps(dict(reg.meta), sort_keys=True)),
        *(it.token, proc.boot, proc.namespace, proc.pid, proc.started),
        *(it.ttl, it.expires_at, it.passing, it.note, it.draining),
    )
    marks = ", ".join("?" * len(row))
    rows.execute("INSERT OR IGNORE INTO services VALUES (?)", (reg.service,))
    rows.execute(f"INSERT OR REPLACE INTO instances VALUES ({marks})", row)
    change(rows)


def document(rows: sqlite3.Connection, kind: str, name: str) -> Document | None:
    """One document."""
    statement = "SELECT * FROM documents WHERE kind = ? AND name = ?"
    row = rows.execute(statement, (kind, name)).fetchone()
    return _document(row) if row else None


def put_document(rows: sqlite3.Connection, it: Document) -> None:
    """Write one document under a new version, unless it says the same already."""
    stored, body = document(rows, it.kind, it.name), encoded(it)
    if stored is None or encoded(stored) != body:
        row = (it.kind, it.name, body, change(rows))
        rows.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?)", row)


def encoded(it: Document) -> str:
    """The body as text, the same for equal bodies.  Raises ConfigError if it is not JSON."""
    try:
        return json.dumps(dict(it.body), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as exc:
        path = f"{it.kind}/{it.name}"
        raise ConfigError(path, it.body, f"plain JSON data ({exc})") from exc


def _instance(row: tuple[Any, ...]) -> Instance:
    service, id_, host, port, weight, region, zone, meta = row[:8]
    token, boot, namespace, pid, started, ttl, expires_at, passing, note, draining = row[8:]
    where = Locality(region, zone)
    return Instance(
        registration=Registration(service, id_, host, port, weight, where, json.loads(meta)),
        token=token,
        process=Process(boot, namespace, pid, started),
        ttl=ttl,
        expires_at=expires_at,
        passing=bool(passing),
        note=note,
        draining=bool(draining),
    )


def _document(row: tuple[Any, ...]) -> Document:
    kind, name, body, version = row
    return Document(kind, name, json.loads(body), version)
