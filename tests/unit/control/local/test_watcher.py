"""From the store to watches, one poll at a time."""

from __future__ import annotations

import contextlib
import logging
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from meshlib.control.local.database import FILE
from meshlib.control.local.process import Process, current
from meshlib.control.local.process import _started as started
from meshlib.control.local.registrar import LocalRegistrar
from meshlib.control.local.view import Instance
from meshlib.control.registry import Document, Registration
from meshlib.errors import RegistryUnavailable
from meshlib.model import Bound, Failed, Neg, Resolution
from meshlib.watch import Watch

Register = Callable[..., Registration]
HTTP = Document("service-defaults", "backend", {"Protocol": "http"})


def ids(watch: Watch[Resolution]) -> list[str]:
    """The endpoints of a bound service."""
    assert isinstance(watch.value, Bound)
    return [endpoint.id for endpoint in watch.value.snapshot.endpoints]


def wakes(watch: Watch) -> list[object]:
    """Every value the watch wakes its subscribers for from now on."""
    seen: list[object] = []
    watch.subscribe(lambda: seen.append(watch.value))
    seen.clear()
    return seen


def test_first_value_is_there(world, registration: Register) -> None:
    """What is registered is known when `endpoints` returns, without a poll."""
    world.registrar.register(registration())
    assert ["b1"] == ids(world.watcher.endpoints("backend"))


def test_same_watch_for_the_same_name(world) -> None:
    """A name has one watch."""
    assert world.watcher.endpoints("backend") is world.watcher.endpoints("backend")
    assert world.watcher.documents("backend") is world.watcher.documents("backend")


def test_unknown_becomes_known(world, registration: Register) -> None:
    """A service nobody registered is negative until somebody does."""
    watch = world.watcher.endpoints("backend")
    assert Neg(()) == watch.value
    world.registrar.register(registration())
    world.watcher.poll_once()
    assert ["b1"] == ids(watch)


def test_heartbeats_wake_nobody(world, registration: Register) -> None:
    """Heartbeats and writes of what is there already are not news."""
    world.registrar.register(registration())
    world.store.put(HTTP)
    endpoints, documents = world.watcher.endpoints("backend"), world.watcher.documents("backend")
    world.watcher.poll_once()
    seen = wakes(endpoints), wakes(documents)
    for _ in range(5):
        world.clock.now += 3
        world.registrar.beat_once()
        world.store.put(HTTP)
        world.watcher.poll_once()
    assert ([], []) == seen


def test_news_of_one_service_wake_no_other(world, registration: Register) -> None:
    """A change of one service is no news for the watch of another."""
    world.registrar.register(registration())
    seen = wakes(world.watcher.endpoints("backend"))
    world.registrar.register(registration("f1", "frontend"))
    world.watcher.poll_once()
    assert [] == seen


def test_silent_instance_expires(world, registration: Register) -> None:
    """An instance that is silent for its time to live is out, and its row is reaped."""
    world.registrar.register(registration())
    watch = world.watcher.endpoints("backend")
    world.watcher.poll_once()
    world.clock.now += 9.9
    world.watcher.poll_once()
    assert ["b1"] == ids(watch)
    world.clock.now += 0.1
    world.watcher.poll_once()
    assert [] == ids(watch)
    assert () == world.store.view().instances


def test_silence_means_nothing_while_nobody_can_write(world, registration: Register) -> None:
    """On a full disk the endpoints stay, and have time to be heard of when there is room again."""
    world.registrar.register(registration())
    watch = world.watcher.endpoints("backend")
    world.watcher.poll_once()
    world.clock.now += 10
    with full_disk():
        with pytest.raises(RegistryUnavailable):
            world.registrar.beat_once()
        world.watcher.poll_once()
    assert ["b1"] == ids(watch)
    b2 = world.registrar.register(registration("b2"))
    world.watcher.poll_once()
    assert ["b1", "b2"] == ids(watch)
    world.clock.now += 9.9
    world.registrar.leave(b2)
    world.watcher.poll_once()
    assert ["b1"] == ids(watch)
    world.clock.now += 0.1
    world.watcher.poll_once()
    assert [] == ids(watch)


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process can grow."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_comes_back_just_before_it_is_reaped(world, registration: Register, monkeypatch) -> None:
    """A heartbeat between the reading of an expired row and its removal brings it back."""
    world.registrar.register(registration())
    watch = world.watcher.endpoints("backend")
    world.watcher.poll_once()
    world.clock.now += 10
    reap = world.store.reap

    def just_too_late(dead) -> int:
        world.registrar.beat_once()
        return reap(dead)

    monkeypatch.setattr(world.store, "reap", just_too_late)
    world.watcher.poll_once()
    assert [] == ids(watch)
    world.watcher.poll_once()
    assert ["b1"] == ids(watch)


def test_heard_again_in_time(world, registration: Register) -> None:
    """A heartbeat before the expiry keeps the instance, though it moves no counter."""
    world.registrar.register(registration())
    watch = world.watcher.endpoints("backend")
    world.watcher.poll_once()
    world.clock.now += 9
    world.registrar.beat_once()
    world.clock.now += 1
    world.watcher.poll_once()
    assert ["b1"] == ids(watch)


def test_drained_is_out_at_once(world, registration: Register) -> None:
    """A drained instance is out of the next poll, and the service stays known."""
    lease = world.registrar.register(registration())
    watch = world.watcher.endpoints("backend")
    lease.drain()
    world.watcher.poll_once()
    assert [] == ids(watch)
    assert not world.store.view().instances[0].wanted


def test_failing_and_passing_again(world, registration: Register) -> None:
    """An instance that fails its own check is out until it passes."""
    lease = world.registrar.register(registration())
    watch = world.watcher.endpoints("backend")
    lease.healthy(passing=False, note="disk full")
    world.watcher.poll_once()
    assert [] == ids(watch)
    assert "disk full" == world.store.view().instances[0].note
    lease.healthy(passing=True)
    world.watcher.poll_once()
    assert ["b1"] == ids(watch)


def test_row_of_an_ended_process(world, instance: Callable[..., Instance]) -> None:
    """An instance whose process has ended is out at the next look, long before its expiry."""
    watch = world.watcher.endpoints("backend")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        owner = replace(current(), pid=child.pid, started=started(child.pid))
        registrar = LocalRegistrar(
            world.store, clock=world.clock, here=lambda: owner, threaded=False
        )
        registrar.register(instance().registration)
        child.communicate(b"\n")
    world.watcher.poll_once()
    world.clock.now += 1
    world.watcher.poll_once()
    assert [] == ids(watch)


def test_row_of_another_namespace_lives_by_its_ttl(world, instance) -> None:
    """A process in another container cannot be looked at: only its time to live counts."""
    far = replace(instance().process, namespace="pid:[1]", pid=2**30)
    world.store.enter(instance(process=far))
    watch = world.watcher.endpoints("backend")
    for _ in range(3):
        world.clock.now += 1
        world.watcher.poll_once()
    assert ["b1"] == ids(watch)


def test_row_of_another_boot_is_dead(world, instance) -> None:
    """What was registered before the machine restarted is dead at once."""
    world.store.enter(instance(process=Process("old boot", "", 1, "")))
    assert [] == ids(world.watcher.endpoints("backend"))
    world.watcher.poll_once()
    assert () == world.store.view().instances


def test_documents_come_sorted_and_go(world) -> None:
    """Documents of a name arrive sorted by kind, and leave."""
    watch = world.watcher.documents("backend")
    assert () == watch.value
    world.store.put(Document("service-resolver", "backend", {}))
    world.store.put(HTTP)
    world.store.put(Document("service-defaults", "frontend", {}))
    world.watcher.poll_once()
    assert ["service-defaults", "service-resolver"] == [each.kind for each in watch.value]
    world.store.delete("service-defaults", "backend")
    world.watcher.poll_once()
    assert ["service-resolver"] == [each.kind for each in watch.value]


def test_lost_store_keeps_the_last_good(world, registration: Register) -> None:
    """While the store cannot be read, watches keep what they know; then they catch up."""
    lease = world.registrar.register(registration())
    watch = world.watcher.endpoints("backend")
    world.watcher.poll_once()
    away = world.folder / "away"
    (world.folder / FILE).rename(away)
    world.clock.now += 100
    with pytest.raises(RegistryUnavailable):
        world.watcher.poll_once()
    assert ["b1"] == ids(watch)
    away.rename(world.folder / FILE)
    lease.close()
    world.watcher.poll_once()
    assert [] == ids(watch)


def test_store_lost_before_the_first_answer(world, registration: Register) -> None:
    """With nothing good to remember the resolution is failed, documents wait; both recover."""
    world.registrar.register(registration())
    world.store.put(HTTP)
    world.watcher.endpoints("other")
    world.watcher.poll_once()
    away = world.folder / "away"
    (world.folder / FILE).rename(away)
    endpoints, documents = world.watcher.endpoints("backend"), world.watcher.documents("backend")
    assert isinstance(endpoints.value, Failed)
    assert FILE in endpoints.value.cause
    assert not documents.ready
    away.rename(world.folder / FILE)
    world.watcher.poll_once()
    assert ["b1"] == ids(endpoints)
    assert ["service-defaults"] == [each.kind for each in documents.value]


def test_broken_subscriber_harms_nobody_else(
    world, registration: Register, caplog: pytest.LogCaptureFixture
) -> None:
    """A subscriber that raises is logged; the other watches are still told."""
    first, second = world.watcher.endpoints("backend"), world.watcher.endpoints("frontend")
    first.subscribe(lambda: 1 / isinstance(first.value, Neg))
    world.registrar.register(registration())
    world.registrar.register(registration("f1", "frontend"))
    with caplog.at_level(logging.ERROR, logger="meshlib.control"):
        world.watcher.poll_once()
    assert ["f1"] == ids(second)
    assert "subscriber" in caplog.text
