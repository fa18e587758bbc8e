"""Leases and their heartbeat, one beat at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import pytest

from meshlib.control.local.database import FILE
from meshlib.control.local.registrar import LocalRegistrar
from meshlib.control.registry import Registration
from meshlib.errors import ConfigError, RegistryUnavailable

Register = Callable[..., Registration]


def rows(world) -> list[tuple[str, float]]:
    """Who is registered, and until when."""
    return [(each.registration.id, each.expires_at) for each in world.store.view().instances]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("service", "Back_end"),
        ("service", ""),
        ("id", ""),
        ("id", "a\nb"),
        ("host", ""),
        ("port", 0),
        ("port", 65536),
        ("port", True),
        ("port", "8001"),
        ("weight", -1),
        ("weight", 65536),
        ("weight", 1.5),
    ],
)
def test_bad_registration(world, registration: Register, field: str, value: object) -> None:
    """A registration that cannot be used is refused with its field and value, unwritten."""
    with pytest.raises(ConfigError) as caught:
        world.registrar.register(replace(registration(), **{field: value}))
    assert (f"registration.{field}", value) == (caught.value.path, caught.value.value)
    assert [] == rows(world)


def test_bad_meta(world, registration: Register) -> None:
    """Meta is text for text."""
    with pytest.raises(ConfigError, match=r"registration\.meta\['version'\]: 2"):
        world.registrar.register(registration(meta={"version": 2}))


@pytest.mark.parametrize("ttl", [0.0, -1.0, float("inf"), float("nan")])
def test_bad_ttl(world, ttl: float) -> None:
    """A time to live is a positive number of seconds."""
    with pytest.raises(ConfigError, match="ttl"):
        LocalRegistrar(world.store, ttl=ttl)


def test_heartbeat_moves_the_expiry(world, registration: Register) -> None:
    """Three heartbeats fit into one time to live, and each begins it anew."""
    world.registrar.register(registration())
    world.clock.now += 5
    assert pytest.approx(10 / 3) == world.registrar.beat_once()
    assert [("b1", 1015.0)] == rows(world)


def test_reaped_instance_comes_back(world, registration: Register) -> None:
    """An instance that was stopped longer than its time to live registers itself again."""
    world.registrar.register(registration())
    watch = world.watcher.endpoints("backend")
    world.watcher.poll_once()
    world.clock.now += 60
    world.watcher.poll_once()
    assert [] == rows(world)
    world.registrar.beat_once()
    world.watcher.poll_once()
    assert ["b1"] == [each.id for each in watch.value.snapshot.endpoints]


def test_drained_comes_back_drained(world, registration: Register) -> None:
    """A wish outlives the row it was written to."""
    lease = world.registrar.register(registration())
    lease.drain()
    world.store.leave([lease.instance])
    world.registrar.beat_once()
    assert world.store.view().instances[0].draining


def test_close_deregisters_once(world, registration: Register) -> None:
    """A closed lease is gone, stays gone, and says nothing more."""
    lease = world.registrar.register(registration())
    lease.close()
    lease.close()
    lease.healthy(passing=True)
    lease.drain()
    world.registrar.beat_once()
    assert [] == rows(world)


def test_closing_the_registrar_closes_its_leases(world, registration: Register) -> None:
    """No row outlives the registrar that keeps it."""
    world.registrar.register(registration())
    world.registrar.register(registration("b2"))
    world.registrar.close()
    assert [] == rows(world)


def test_same_id_replaces(world, registration: Register, caplog: pytest.LogCaptureFixture) -> None:
    """The newest registration of an id owns it; the older is told once and lets go."""
    old = world.registrar.register(registration())
    other = world.another_registrar()
    other.register(registration(weight=7))
    with caplog.at_level(logging.WARNING, logger="meshlib.control"):
        world.registrar.beat_once()
        world.registrar.beat_once()
    old.close()
    assert [7] == [each.registration.weight for each in world.store.view().instances]
    assert 1 == caplog.text.count("registered the same id")
    other.close()


def test_same_id_in_the_same_process(
    world, registration: Register, caplog: pytest.LogCaptureFixture
) -> None:
    """Registering an id anew takes the old lease's place without a word."""
    old = world.registrar.register(registration())
    world.registrar.register(registration(weight=7))
    old.close()
    world.registrar.beat_once()
    assert [7] == [each.registration.weight for each in world.store.view().instances]
    assert "" == caplog.text


def test_wish_while_the_store_is_away(world, registration: Register) -> None:
    """A wish that cannot be written does not raise, and the next heartbeat writes it."""
    lease = world.registrar.register(registration())
    away = world.folder / "away"
    (world.folder / FILE).rename(away)
    lease.healthy(passing=False, note="warming up")
    with pytest.raises(RegistryUnavailable):
        world.registrar.beat_once()
    away.rename(world.folder / FILE)
    world.registrar.beat_once()
    row = world.store.view().instances[0]
    assert (False, "warming up") == (row.passing, row.note)


def test_registering_while_the_store_is_away(world, registration: Register) -> None:
    """A registration that cannot be written raises, and nothing is kept alive."""
    away = world.folder / "away"
    (world.folder / FILE).rename(away)
    with pytest.raises(RegistryUnavailable):
        world.registrar.register(registration())
    away.rename(world.folder / FILE)
    world.registrar.beat_once()
    assert [] == rows(world)
