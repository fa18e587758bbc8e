"""The file: made whole, opened safely, refused when it is not right."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from meshlib.control.local.database import FILE, Session, prepare
from meshlib.control.local.store import Store
from meshlib.errors import ConfigError, RegistryUnavailable


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A private folder, empty."""
    made = tmp_path / "home"
    made.mkdir(mode=0o700)
    return made


@contextmanager
def umask(value: int) -> Iterator[None]:
    """Run with another umask."""
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def unprivileged(folder: Path) -> Iterator[None]:
    """Files modes mean nothing to root: be somebody else for a moment."""
    if os.geteuid():
        yield
        return
    os.chown(folder, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def mode(path: Path) -> int:
    """Its permission bits."""
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("mask", [0o000, 0o077, 0o177])
def test_modes_whatever_the_umask(folder: Path, mask: int) -> None:
    """The database and its companions are 0600, whatever the umask says."""
    with umask(mask):
        session = Session(prepare(folder))
        with session.write() as db:
            db.execute("UPDATE changes SET count = 1")
    modes = {path.name: mode(path) for path in folder.iterdir()}
    session.close()
    assert {FILE: 0o600, f"{FILE}-wal": 0o600, f"{FILE}-shm": 0o600} == modes


def test_wider_folder_is_refused(folder: Path) -> None:
    """A folder that others may enter is refused, with its path and its mode."""
    folder.chmod(0o750)
    with pytest.raises(ConfigError, match="0750"):
        Store(folder)
    assert [] == list(folder.iterdir())


def test_wider_file_is_refused(folder: Path) -> None:
    """A database that others may read is refused, with what to do."""
    prepare(folder).chmod(0o640)
    with pytest.raises(ConfigError, match="0640") as caught:
        prepare(folder)
    assert "chmod 600" in caught.value.hint


def test_symlink_is_refused(folder: Path, tmp_path: Path) -> None:
    """A link in the place of the database is not followed."""
    (folder / FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="regular file"):
        prepare(folder)


@pytest.mark.parametrize("damage", ["no database", "empty", "page", "cut"])
def test_damaged_file_is_refused_and_kept(folder: Path, damage: str) -> None:
    """A damaged database is an error that names it and what to do; it is never replaced."""
    path = prepare(folder)
    whole = path.read_bytes()
    path.write_bytes(
        {
            "no database": b"not a database, but long enough to be looked at " * 50,
            "empty": b"",
            "page": whole[:4096] + b"\xff" * 4096 + whole[8192:],
            "cut": whole[:6000],
        }[damage]
    )
    before = path.read_bytes()
    with pytest.raises((RegistryUnavailable, ConfigError)) as caught:
        prepare(folder)
    assert str(path) in str(caught.value)
    assert "move" in caught.value.hint
    assert before == path.read_bytes()


def test_newer_schema_is_refused(folder: Path) -> None:
    """A database of a newer meshlib is refused with its version."""
    path = prepare(folder)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 7")
    with pytest.raises(ConfigError, match="user_version: 7") as caught:
        prepare(folder)
    assert "newer meshlib" in caught.value.hint


def test_read_only_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A folder without write permission is an error that names the file."""
    import tempfile

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        with unprivileged(folder):
            folder.chmod(0o500)
            with pytest.raises(RegistryUnavailable, match=FILE):
                prepare(folder)
            folder.chmod(0o700)


def test_losing_the_race_to_create(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who finds the database made by another meanwhile uses it and leaves nothing behind."""
    path = prepare(folder)
    inode = path.stat().st_ino
    monkeypatch.setattr("os.path.lexists", lambda _: False)
    assert inode == prepare(folder).stat().st_ino
    assert [FILE] == [each.name for each in folder.iterdir()]


def test_failed_write_leaves_nothing(folder: Path) -> None:
    """A transaction that breaks in the middle is undone, and the session works on."""
    session = Session(prepare(folder))

    def break_off() -> None:
        with session.write() as db:
            db.execute("UPDATE changes SET count = 9")
            db.execute("SELECT no_such_function()")

    with pytest.raises(RegistryUnavailable, match="no_such_function"):
        break_off()
    with session.read() as db:
        assert (0,) == db.execute("SELECT count FROM changes").fetchone()
    session.close()


def test_vanished_file_is_not_made_again(folder: Path) -> None:
    """A running session whose file was removed says so, and takes a new one when there is one."""
    session = Session(prepare(folder))
    session.data_version()
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(RegistryUnavailable, match=FILE):
        session.data_version()
    assert [] == list(folder.iterdir())
    prepare(folder)
    assert 2 == session.data_version()[0]
    session.close()


def test_replaced_file_is_noticed(folder: Path) -> None:
    """A session never goes on writing to a file that is no longer in its place."""
    session = Session(prepare(folder))
    with session.write() as db:
        db.execute("UPDATE changes SET count = 9")
    for path in folder.iterdir():
        path.unlink()
    prepare(folder)
    with session.read() as db:
        assert (0,) == db.execute("SELECT count FROM changes").fetchone()
    session.close()


def test_only_documents_are_synced(folder: Path) -> None:
    """A durable transaction runs with FULL (2), the others with NORMAL (1)."""
    session = Session(prepare(folder))
    levels = []
    for durable in (False, True, False):
        with session.write(durable=durable) as db:
            levels += db.execute("PRAGMA synchronous").fetchone()
    session.close()
    assert [1, 2, 1] == levels
