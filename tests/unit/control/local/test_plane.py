"""The four protocols from one folder."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from meshlib.control.local.plane import LocalControl, default_home
from meshlib.control.registry import ControlPlane, Document, Registration
from meshlib.errors import ConfigError
from meshlib.model import Bound


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"MESHLIB_HOME": "/a", "XDG_STATE_HOME": "/b"}, "/a"),
        ({"MESHLIB_HOME": "", "XDG_STATE_HOME": "/b"}, "/b/meshlib"),
        ({"XDG_STATE_HOME": "relative"}, "~/.local/state/meshlib"),
        ({}, "~/.local/state/meshlib"),
    ],
)
def test_home(environ: dict[str, str], expected: str) -> None:
    """MESHLIB_HOME beats XDG_STATE_HOME beats ~/.local/state."""
    assert Path(expected).expanduser() == default_home(environ)


def test_named_by_the_environment(home: Path) -> None:
    """Without an argument the environment names the folder, which is private."""
    with LocalControl() as control:
        assert home == control.home
    assert 0o700 == stat.S_IMODE(home.stat().st_mode)


def test_one_plane_serves_all_protocols(home: Path) -> None:
    """What one plane writes another one reads, and the second goes when the first closes."""
    with LocalControl(home) as reading:
        writing: ControlPlane = LocalControl(home)
        writing.register(Registration("backend", "b1", "127.0.0.1", 8001))
        body = {"Kind": "service-defaults", "Name": "backend", "Protocol": "http"}
        assert writing.put(Document("service-defaults", "backend", body), cas=True)
        watch = reading.endpoints("backend")
        assert isinstance(watch.value, Bound)
        assert ["b1"] == [each.id for each in watch.value.snapshot.endpoints]
        assert ("backend",) == reading.services()
        assert (reading.get("service-defaults", "backend"),) == reading.documents("backend").value
        assert reading.delete("service-defaults", "backend")
        gone = threading.Event()
        watch.subscribe(lambda: watch.value.snapshot.endpoints or gone.set())
        writing.close()
        assert gone.wait(20)


def test_identity_comes_from_the_same_folder(home: Path) -> None:
    """Credentials speak as the id that the plane says."""
    with LocalControl(home, trust_domain="example.org") as control:
        expected = "spiffe://example.org/ns/default/dc/local/svc/backend"
        assert expected == control.spiffe_id("backend")
        assert expected == control.credentials("backend").value.leaf.spiffe_id


def test_documents_are_validated(home: Path) -> None:
    """A document that does not validate is refused and not written."""
    with LocalControl(home) as control:
        with pytest.raises(ConfigError):
            control.put(Document("service-nonsense", "backend", {}))
        assert control.get("service-nonsense", "backend") is None


def test_own_validation(home: Path) -> None:
    """Whoever makes the plane may say what a document must be."""
    with LocalControl(home, validate=lambda document: None) as control:
        assert control.put(Document("service-nonsense", "backend", {}))


def test_nothing_runs_before_it_is_used(home: Path) -> None:
    """A plane starts no thread and makes no certificate before somebody asks for one."""
    before = threading.active_count()
    with LocalControl(home):
        assert before == threading.active_count()
        assert ["mesh.db"] == [each.name for each in home.iterdir() if "db-" not in each.name]


def test_closed_threads_have_ended(home: Path) -> None:
    """After `close` none of the plane's threads runs, and closing again does nothing."""
    before = set(threading.enumerate())  # another plane may be open
    control = LocalControl(home)
    control.endpoints("backend")
    control.register(Registration("backend", "b1", "127.0.0.1", 8001))
    started = set(threading.enumerate()) - before
    assert {"meshlib-watch", "meshlib-heartbeat"} <= {thread.name for thread in started}
    control.close()
    control.close()
    assert not [thread for thread in started if thread.is_alive()]
