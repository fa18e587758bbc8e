"""What the control plane says of a bare name, and when nobody says anything."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest

from meshlib import Mesh, RegistryUnavailable
from meshlib.auto import meaning
from meshlib.auto.meaning import Meaning
from meshlib.control.registry import Document
from meshlib.model import Bound, Failed, Neg, Pending, Snapshot
from meshlib.watch import Watch

IT = Bound(Snapshot("shop", ()))
DEFAULT = Document(
    "discovery-chain", "shop", {"StartNode": "a", "Nodes": {"a": {"Resolver": {"Default": True}}}}
)
REDIRECT = Document(
    "discovery-chain", "shop", {"StartNode": "a", "Nodes": {"a": {"Resolver": {"Target": "b"}}}}
)


class Plane:
    """A control plane that has yet to answer; it counts what it was asked."""

    def __init__(self):
        self.endpoint_watch, self.document_watch = Watch(Pending()), Watch(())
        self.asked = []

    def endpoints(self, name):
        self.asked.append(name)
        return self.endpoint_watch

    def documents(self, name):
        return self.document_watch

    def services(self):
        raise RegistryUnavailable("it is away")


@pytest.fixture
def plane():
    """Silent."""
    return Plane()


@pytest.fixture(params=["sync", "loop"])
def means(request, plane):
    """What an address means, asked with and without a loop."""
    settings = SimpleNamespace(upstream_addresses="", egress="allow")
    it = Meaning(SimpleNamespace(settings=settings, control=plane))
    if request.param == "sync":
        return lambda host: it.service_of("http", host, None)
    return lambda host: asyncio.run(it.service_of_loop("http", host, None))


def test_a_name_is_asked_for_once_and_followed(means, plane):
    """What it means changes with what the control plane says, without another question."""
    plane.endpoint_watch.set(Neg())
    plane.document_watch.set(())
    assert means("shop") is None
    plane.endpoint_watch.set(IT)
    assert "shop" == means("shop")
    assert ["shop"] == plane.asked


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ((), None),
        ((DEFAULT,), None),
        ((Document("proxy-defaults", "global", {}),), None),
        ((REDIRECT,), "shop"),
        ((DEFAULT, Document("traffic-policy", "shop", {})), "shop"),
    ],
)
def test_a_service_may_be_known_by_its_documents_alone(means, plane, documents, expected):
    """What Consul compiles for a name that nobody wrote about is nobody's word."""
    plane.endpoint_watch.set(Neg())
    plane.document_watch.set(documents)
    assert expected == means("shop")


def test_the_first_answer_is_waited_for(means, plane):
    """A call that is made before the control plane has answered waits for it."""
    waited_for = threading.Event()

    class Awaited(Watch):
        def subscribe(self, callback):
            stop = super().subscribe(callback)
            waited_for.set()
            return stop

    def answer():
        waited_for.wait()
        plane.endpoint_watch.set(IT)

    plane.endpoint_watch = Awaited(Pending())
    thread = threading.Thread(target=answer)
    thread.start()
    assert "shop" == means("shop")
    thread.join()


def test_a_loop_goes_on_meanwhile(plane):
    """What is waited for may be said by the loop itself."""
    settings = SimpleNamespace(upstream_addresses="", egress="allow")
    it = Meaning(SimpleNamespace(settings=settings, control=plane))

    async def main():
        asked = asyncio.create_task(it.service_of_loop("http", "shop", None))
        await asyncio.sleep(0)
        assert not it.knows("http", "shop", None)
        plane.endpoint_watch.set(IT)
        assert it.knows("http", "shop", None)
        return await asked

    assert "shop" == asyncio.run(main())


@pytest.mark.parametrize("said", [None, Failed("it is away")])
def test_nobody_waits_for_ever(means, plane, monkeypatch, said):
    """A control plane that does not answer, or cannot, is an error, not a guess."""
    monkeypatch.setattr(meaning, "PATIENCE", 0.01)
    if said:
        plane.endpoint_watch.set(said)
    with pytest.raises(RegistryUnavailable, match="it is away" if said else "has not answered"):
        means("shop")


def test_what_is_no_name_is_not_asked_for(means, plane):
    """Nor does anybody wait."""
    for host in ("localhost", "10.0.0.1", "::1", "shop.example.org"):
        assert means(host) is None
    assert [] == plane.asked


def test_only_so_many_names_are_followed(means, plane, monkeypatch):
    """A program that calls ever new ones does not fill the memory, and services are found still."""
    monkeypatch.setattr(meaning, "FOLLOWED", 3)
    plane.endpoint_watch.set(Neg())
    plane.document_watch.set(())
    plane.services = lambda: ("shop",)
    for number in range(10):
        assert means(f"host-{number}") is None
    assert "shop" == means("shop")
    assert ["host-0", "host-1", "host-2"] == plane.asked


def test_nobody_can_say_what_a_name_is_that_is_not_followed(means, plane, monkeypatch):
    """That is an error as for one that is."""
    monkeypatch.setattr(meaning, "FOLLOWED", 0)
    with pytest.raises(RegistryUnavailable, match="it is away"):
        means("shop")


def test_the_embedded_control_plane_knows_written_services(home):
    """A service that has documents and no instances is one."""
    with Mesh("front") as mesh:
        it = Meaning(mesh)
        assert it.service_of("http", "shop", 80) is None
        mesh.control.put(Document("service-defaults", "shop", {"Protocol": "http"}))
        heard = threading.Event()
        watch = mesh.control.endpoints("shop")
        watch.subscribe(lambda: isinstance(watch.value, Bound) and heard.set())
        assert heard.wait(20)
        assert "shop" == it.service_of("http", "shop", 80)
