"""Endpoints and documents given in code or in a file."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshlib.control.registry import Document
from meshlib.control.static import StaticDiscovery
from meshlib.errors import ConfigError, ControlError, RegistryUnavailable
from meshlib.model import Bound, Endpoint, Locality, Neg, Resolution
from meshlib.watch import Watch

TOML = """
[services]
backend = [
    "127.0.0.1:8001",
    { address = "[::1]:8002", id = "b2", weight = 3, zone = "a", meta = { version = "v2" } },
]

[[documents]]
kind = "service-defaults"
name = "backend"
body = { Protocol = "http" }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file above."""
    path = tmp_path / "mesh.toml"
    path.write_text(TOML)
    return path


@pytest.fixture
def followed(file: Path) -> Iterator[StaticDiscovery]:
    """Discovery that follows the file."""
    static = StaticDiscovery(file=file)
    yield static
    static.close()


def endpoints(watch: Watch[Resolution]) -> list[Endpoint]:
    """The endpoints of a bound service."""
    assert isinstance(watch.value, Bound)
    return list(watch.value.snapshot.endpoints)


def test_from_code() -> None:
    """Addresses given in code are endpoints, whose ids are the addresses."""
    static = StaticDiscovery({"backend": ["127.0.0.1:8002", "127.0.0.1:8001"]})
    found = endpoints(static.endpoints("backend"))
    assert [("127.0.0.1", 8001), ("127.0.0.1", 8002)] == [each.address for each in found]
    assert ["127.0.0.1:8001", "127.0.0.1:8002"] == [each.id for each in found]
    assert Neg(("backend",)) == static.endpoints("other").value
    assert ("backend",) == static.services()
    assert static.endpoints("backend") is static.endpoints("backend")


def test_from_toml(followed: StaticDiscovery) -> None:
    """A file may say all that an endpoint has, and documents."""
    one, two = endpoints(followed.endpoints("backend"))
    assert ("127.0.0.1", 8001) == one.address
    assert Endpoint("b2", "::1", 8002, 3, Locality("", "a"), {"version": "v2"}) == two
    document = Document("service-defaults", "backend", {"Protocol": "http"}, 1)
    assert (document,) == followed.documents("backend").value
    assert document == followed.get("service-defaults", "backend")
    assert followed.get("service-resolver", "backend") is None


def test_from_json(tmp_path: Path) -> None:
    """The same in JSON."""
    path = tmp_path / "mesh.json"
    path.write_text(json.dumps({"services": {"backend": ["localhost:80"]}}))
    static = StaticDiscovery(file=path)
    assert [("localhost", 80)] == [each.address for each in endpoints(static.endpoints("backend"))]
    static.close()


def test_refuses_to_write() -> None:
    """What stands in code cannot be changed through the mesh, and the error says so."""
    static = StaticDiscovery({})
    with pytest.raises(ControlError, match="static"):
        static.put(Document("service-defaults", "backend", {}))
    with pytest.raises(ControlError, match="static"):
        static.delete("service-defaults", "backend")


@pytest.mark.parametrize(
    ("services", "path", "value"),
    [
        ({"backend": ["127.0.0.1"]}, "services.backend[0].address", "127.0.0.1"),
        ({"backend": ["127.0.0.1:0"]}, "services.backend[0].address", "127.0.0.1:0"),
        ({"backend": ["127.0.0.1:65536"]}, "services.backend[0].address", "127.0.0.1:65536"),
        (
            {"backend": ["http://127.0.0.1:80"]},
            "services.backend[0].address",
            "http://127.0.0.1:80",
        ),
        ({"backend": ["me@127.0.0.1:80"]}, "services.backend[0].address", "me@127.0.0.1:80"),
        ({"backend": ["127.0.0.1:80/x"]}, "services.backend[0].address", "127.0.0.1:80/x"),
        ({"backend": [{"address": "a:1", "weight": -1}]}, "services.backend[0].weight", -1),
        ({"backend": [{"address": "a:1", "wight": 1}]}, "services.backend[0].wight", 1),
        ({"backend": ["a:1", "a:1"]}, "services.backend", ["a:1", "a:1"]),
        ({"Back_end": []}, "services", "Back_end"),
    ],
)
def test_bad_services(services: dict, path: str, value: object) -> None:
    """What cannot be used is refused with its path and value."""
    with pytest.raises(ConfigError) as caught:
        StaticDiscovery(services)
    assert path == caught.value.path
    assert value == caught.value.value


@pytest.mark.parametrize("text", ["services = 3", "nonsense = {}", "= no toml", "\x00"])
def test_bad_file(tmp_path: Path, text: str) -> None:
    """A file that cannot be used is refused by its name."""
    path = tmp_path / "mesh.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"mesh\.toml"):
        StaticDiscovery(file=path)


def test_bad_document(tmp_path: Path) -> None:
    """A document that does not validate is refused."""
    path = tmp_path / "mesh.toml"
    path.write_text('[[documents]]\nkind = "service-nonsense"\nname = "backend"\n')
    with pytest.raises(ConfigError, match="service-nonsense"):
        StaticDiscovery(file=path)


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is refused by its name."""
    with pytest.raises((ConfigError, RegistryUnavailable), match=r"nothing\.toml"):
        StaticDiscovery(file=tmp_path / "nothing.toml")


def test_either_or() -> None:
    """Services come from code or from a file, not from both or neither."""
    with pytest.raises(ConfigError):
        StaticDiscovery()
    with pytest.raises(ConfigError):
        StaticDiscovery({}, file=Path("mesh.toml"))


def test_edited_file_is_read_again(file: Path, followed: StaticDiscovery) -> None:
    """An edit arrives in the watches that stand, by itself."""
    watch, documents = followed.endpoints("backend"), followed.documents("backend")
    arrived = threading.Event()
    documents.subscribe(lambda: documents.value or arrived.set())
    file.write_text('services.backend = ["127.0.0.1:9"]')
    assert arrived.wait(20)
    assert [("127.0.0.1", 9)] == [each.address for each in endpoints(watch)]


def test_unusable_edit_changes_nothing(
    file: Path, followed: StaticDiscovery, caplog: pytest.LogCaptureFixture
) -> None:
    """A bad edit is logged once, and what was read before stays."""
    followed.close()
    file.write_text('services.backend = ["nowhere"]')
    with caplog.at_level(logging.WARNING, logger="meshlib.control"):
        for _ in range(4):
            followed.poll_once()
    assert ("backend",) == followed.services()
    assert 2 == len(endpoints(followed.endpoints("backend")))
    assert 1 == caplog.text.count("nowhere")


def test_a_file_is_not_taken_while_it_is_written(file: Path, followed: StaticDiscovery) -> None:
    """Every beginning of a file is passed over, though it may be one: only what stays is taken."""
    followed.close()
    whole = 'services.backend = ["127.0.0.1:9"]\nservices.other = ["127.0.0.1:8"]\n'
    for written in range(len(whole)):
        file.write_text(whole[:written])
        followed.poll_once()
        assert 2 == len(endpoints(followed.endpoints("backend")))
    file.write_text(whole)
    followed.poll_once()
    followed.poll_once()
    assert ("backend", "other") == followed.services()


def test_an_emptied_file_changes_nothing(
    file: Path, followed: StaticDiscovery, caplog: pytest.LogCaptureFixture
) -> None:
    """Who saves a file empties it first: that is never the new state, however long it lasts."""
    followed.close()
    file.write_text("")
    with caplog.at_level(logging.WARNING, logger="meshlib.control"):
        for _ in range(4):
            followed.poll_once()
    assert ("backend",) == followed.services()
    assert 1 == len(caplog.records)


def test_vanished_file(file: Path, followed: StaticDiscovery) -> None:
    """While the file is gone the step fails, and what was read before stays."""
    followed.close()
    file.unlink()
    with pytest.raises(RegistryUnavailable, match=r"mesh\.toml"):
        followed.poll_once()
    assert 2 == len(endpoints(followed.endpoints("backend")))
