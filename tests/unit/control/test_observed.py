"""The files in which services of this machine say what they were asked for."""

from __future__ import annotations

import os

import pytest

from meshlib.control.observed import FILES, ObservedFolder, Seen
from meshlib.control.suggest import PERMISSIONS, SIBLINGS, suggested
from meshlib.errors import ConfigError


def page(path="/a", requests=1, beyond=0):
    row = {"caller": "web", "method": "GET", "path": path, "requests": requests}
    return {"seen": [row], "beyond": beyond}


@pytest.fixture
def folder(home):
    return ObservedFolder(home)


def test_what_was_written_is_read(folder, home):
    """The sum over processes; a process writes its own file anew; others cannot read it."""
    folder.write("backend", "backend/1 é", page(requests=3))
    folder.write("backend", "backend/1 é", page(requests=4, beyond=1))
    folder.write("backend", "b2", page(requests=2))
    folder.write("other", "o1", page())
    found = folder.read("backend")
    assert ((Seen("web", "GET", "/a", 6),), 1, 2) == (found.seen, found.beyond, found.files)
    for path in (home / "observed").rglob("*"):
        assert 0 == path.stat().st_mode & 0o077
    assert 2 == folder.forget("backend")
    assert () == folder.read("backend").seen
    assert 1 == folder.read("other").files


def test_files_are_few(folder, home):
    """The oldest go."""
    for number in range(FILES + 3):
        folder.write("backend", f"b{number}", page())
        (file,) = (home / "observed" / "backend").glob(f"b{number}-*")
        os.utime(file, (number, number))
    folder.write("backend", "last", page())
    names = {file.name.partition("-")[0] for file in (home / "observed" / "backend").iterdir()}
    assert FILES == len(names)
    assert {"b0", "b1", "b2"}.isdisjoint(names)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"seen": 1, "beyond": 2}', "\xff"])
def test_what_is_damaged_is_said(folder, home, text):
    """With its path; nothing is suggested from half of the truth."""
    folder.write("backend", "b1", page())
    (file,) = (home / "observed" / "backend").iterdir()
    file.write_text(text, "latin-1")
    with pytest.raises(ConfigError) as refused:
        folder.read("backend")
    assert str(file) == refused.value.path


@pytest.mark.parametrize("name", ["../x", "", "A", "a/b"])
def test_names_of_services_are_no_paths(folder, name):
    """Neither to write nor to read."""
    for doing in (lambda: folder.write(name, "i", page()), lambda: folder.read(name)):
        with pytest.raises(ConfigError):
            doing()


def http(*paths, method="GET"):
    seen = [Seen("web", method, path, 1) for path in paths]
    return suggested("backend", seen)["Sources"][0]


def test_paths_side_by_side_become_their_prefix():
    """Not before they are many."""
    few = [f"/c/{letter}" for letter in "abcde"[:SIBLINGS]]
    assert SIBLINGS + 1 == len(http(*few)["Permissions"])
    first, rest = http(*few, "/c/z")["Permissions"]
    assert {"PathPrefix": "/c/", "Methods": ["GET"]} == first["HTTP"]
    assert "deny" == rest["Action"]


def test_a_caller_of_everything():
    """It is let in, and the document says why."""
    found = http(*(f"/{'x' * number}/a" for number in range(1, PERMISSIONS + 2)))
    assert "allow" == found["Action"]
    assert "everything" in found["Description"]


def test_what_no_intention_can_allow():
    """It is left out."""
    strange = [
        Seen("(plaintext)", "GET", "/", 1),
        Seen("", "GET", "/", 1),
        Seen("web", "", "/", 1),
        Seen("web", "GET", "", 1),
    ]
    assert [{"Name": "*", "Action": "deny"}] == suggested("backend", strange)["Sources"]
