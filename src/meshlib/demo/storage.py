"""
Where the database service keeps the tables: SQLite in memory, or PostgreSQL.

The same SQL runs on both; only the placeholder differs.  Blocking, and safe to use from threads.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from meshlib.demo.zones import Zone
from meshlib.errors import ConfigError

Row: TypeAlias = tuple[Any, ...]
Connection: TypeAlias = Any
"""A DB-API connection; the two drivers share no type."""

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS countries (code TEXT PRIMARY KEY, name TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS zones (
        name TEXT PRIMARY KEY, region TEXT NOT NULL, city TEXT NOT NULL,
        latitude DOUBLE PRECISION NOT NULL, longitude DOUBLE PRECISION NOT NULL,
        comment TEXT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS zone_countries (
        zone TEXT NOT NULL, code TEXT NOT NULL, place INTEGER NOT NULL,
        PRIMARY KEY (zone, code))""",
)
_FIND = """
    SELECT z.name, z.region, z.city, z.latitude, z.longitude, z.comment, c.code, c.name
    FROM zones z
    JOIN zone_countries zc ON zc.zone = z.name
    JOIN countries c ON c.code = zc.code"""
_MATCHING = """
    WHERE z.name IN (
        SELECT zz.name FROM zones zz
        JOIN zone_countries x ON x.zone = zz.name
        JOIN countries y ON y.code = x.code
        WHERE lower(zz.name) LIKE ? ESCAPE '!' OR lower(zz.city) LIKE ? ESCAPE '!'
        OR lower(y.name) LIKE ? ESCAPE '!' OR lower(y.code) = ?)"""
_ORDER = " ORDER BY z.name, zc.place"


class Store:
    """The zone and country tables."""

    def __init__(
        self, connect: Callable[[], Connection], *, mark: str = "?", size: int = 4
    ) -> None:
        self._connect, self._mark = connect, mark
        self._pool: queue.LifoQueue[Connection | None] = queue.LifoQueue()
        for connection in [connect()] + [None] * (size - 1):
            self._pool.put(connection)

    def fill(self, zones: Iterable[Zone], countries: Mapping[str, str]) -> None:
        """Create the tables and replace what they hold, in one transaction."""
        zones = tuple(zones)
        pairs = [(z.name, c, n) for z in zones for n, c in enumerate(z.countries)]
        with self._cursor() as cursor:
            for statement in SCHEMA:
                cursor.execute(statement)
            self._replace(cursor, "countries", countries.items())
            self._replace(cursor, "zones", map(_columns, zones))
            self._replace(cursor, "zone_countries", pairs)

    def zone(self, name: str) -> dict[str, Any] | None:
        """One zone by its exact name."""
        found = self._zones(" WHERE z.name = ?", (name,))
        return found[0] if found else None

    def zones(self, search: str = "") -> list[dict[str, Any]]:
        """The zones whose name, city or country contains `search`; all for the empty string."""
        if not search:
            return self._zones("", ())
        word = search.lower()
        pattern = f"%{_escape(word)}%"
        spaced = f"%{_escape(word.replace(' ', '_'))}%"
        return self._zones(_MATCHING, (spaced, pattern, pattern, word))

    def countries(self) -> list[dict[str, str]]:
        """All countries, by name."""
        rows = self._query("SELECT code, name FROM countries ORDER BY name", ())
        return [{"code": code, "name": name} for code, name in rows]

    def close(self) -> None:
        """Close the connections that are not in use."""
        with contextlib.suppress(queue.Empty):
            while True:
                connection = self._pool.get_nowait()
                if connection is not None:
                    connection.close()

    def _zones(self, where: str, values: Row) -> list[dict[str, Any]]:
        rows = self._query(_FIND + where + _ORDER, values)
        return [_zone(list(group)) for _, group in itertools.groupby(rows, key=lambda row: row[0])]

    def _query(self, sql: str, values: Row) -> list[Row]:
        with self._cursor() as cursor:
            cursor.execute(sql.replace("?", self._mark), values)
            rows: list[Row] = cursor.fetchall()
            return rows

    def _replace(self, cursor: Any, table: str, rows: Iterable[Row]) -> None:
        rows = list(rows)
        marks = ", ".join(self._mark for _ in rows[0])
        cursor.execute(f"DELETE FROM {table}")  # noqa: S608 - our own table names
        # Two databases that start at once on one PostgreSQL write the same rows.
        cursor.executemany(
            f"INSERT INTO {table} VALUES ({marks}) ON CONFLICT DO NOTHING",  # noqa: S608 - as above
            rows,
        )

    @contextlib.contextmanager
    def _cursor(self) -> Iterator[Any]:
        """A cursor in a transaction; a connection that fails is replaced by the next caller."""
        connection = self._pool.get()
        try:
            connection = connection or self._connect()
            cursor = connection.cursor()
            yield cursor
            connection.commit()
        except BaseException:
            if connection is not None:
                connection.close()
            connection = None
            raise
        finally:
            self._pool.put(connection)


def open_store(url: str | None) -> Store:
    """PostgreSQL at `url`, or SQLite in memory without one.  Raises ConfigError for other URLs."""
    if not url:
        return _sqlite()
    if url.partition("://")[0] not in {"postgresql", "postgres"}:
        raise ConfigError("DATABASE_URL", url, "postgresql://user:password@host:port/database")
    return _postgresql(url)


def _sqlite() -> Store:
    name = f"file:{uuid.uuid4().hex}?mode=memory&cache=shared"
    # A connection held open keeps the shared memory alive while the pool replaces its own.
    anchor = sqlite3.connect(name, uri=True, check_same_thread=False)

    class SqliteStore(Store):
        def close(self) -> None:
            super().close()
            anchor.close()

    return SqliteStore(lambda: sqlite3.connect(name, uri=True, check_same_thread=False))


def _postgresql(url: str) -> Store:
    try:
        import psycopg
    except ImportError:
        hint = "pip install psycopg[binary]"
        raise ConfigError("DATABASE_URL", url, "the package psycopg", hint=hint) from None
    return Store(lambda: psycopg.connect(url), mark="%s")


def _columns(zone: Zone) -> Row:
    place = zone.coordinates
    return zone.name, zone.region, zone.city, place.latitude, place.longitude, zone.comment


def _zone(rows: list[Row]) -> dict[str, Any]:
    name, region, city, latitude, longitude, comment = rows[0][:6]
    return {
        "zone": name,
        "region": region,
        "city": city,
        "coordinates": {"latitude": latitude, "longitude": longitude},
        "comment": comment,
        "countries": [{"code": row[6], "name": row[7]} for row in rows],
    }


def _escape(word: str) -> str:
    return word.replace("!", "!!").replace("%", "!%").replace("_", "!_")
