"""The demo's database on a real PostgreSQL, where one is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from meshlib.demo.storage import open_store
from meshlib.demo.zones import load_countries, load_zones
from meshlib.errors import ConfigError

pytest.importorskip("psycopg")


def binaries() -> Path | None:
    """Where Debian, or the PATH, has the server's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


@pytest.fixture(scope="module")
def url():
    """A server of its own that listens on a unix socket only."""
    tools = binaries()
    if tools is None:
        pytest.skip("no PostgreSQL server is installed")
    folder = Path(tempfile.mkdtemp(prefix="meshlib-pg-"))
    # The server refuses to run as root; Debian's package brings a user for it.
    user = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
    if user:
        shutil.chown(folder, **user)
    data = str(folder / "data")

    def call(program, *arguments):
        command = [str(tools / program), *arguments]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, **user)

    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    try:
        call("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale")
        call("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        yield f"postgresql://postgres@/postgres?host={folder}"
        call("pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def stores(url):
    """The same tables in PostgreSQL and in SQLite."""
    both = [open_store(url), open_store(None)]
    for store in both:
        store.fill(load_zones(), load_countries())
    yield both
    for store in both:
        store.close()


def test_both_databases_answer_the_same(stores):
    """One zone, no zone, all countries and every kind of search agree."""
    postgresql, sqlite = stores
    assert sqlite.zone("Europe/Berlin") == postgresql.zone("Europe/Berlin")
    assert postgresql.zone("Europe/Atlantis") is None
    for word in ("berl", "buenos aires", "SWEDEN", "jp", "%", "' OR 1=1 --", "100%_!"):
        assert sorted_by_name(sqlite.zones(word)) == sorted_by_name(postgresql.zones(word))
    assert sorted_by_name(sqlite.zones()) == sorted_by_name(postgresql.zones())
    assert {each["code"] for each in sqlite.countries()} == {
        each["code"] for each in postgresql.countries()
    }


def sorted_by_name(zones):
    return sorted(zones, key=lambda zone: zone["zone"])


def test_databases_that_start_together_agree(url, stores):
    """Filling the same tables from several processes' worth of stores leaves each row once."""
    with ThreadPoolExecutor() as pool:
        others = [open_store(url) for _ in range(3)]
        list(pool.map(lambda store: store.fill(load_zones(), load_countries()), others))
    assert len(load_zones()) == len(stores[0].zones())
    for store in others:
        store.close()


def test_a_broken_connection_is_replaced(stores):
    """After a statement that fails the next one is served by a new connection."""
    postgresql, _ = stores
    with pytest.raises(Exception, match="syntax"):
        postgresql._query("this is no SQL", ())
    assert "Europe/Berlin" == postgresql.zone("Europe/Berlin")["zone"]


def test_another_kind_of_url_is_refused():
    """A URL that no driver is here for names itself and what would be right."""
    with pytest.raises(ConfigError, match="mysql://elsewhere"):
        open_store("mysql://elsewhere")
