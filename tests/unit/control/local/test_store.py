"""Documents, instances and the change counter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

import pytest

from meshlib.control.local.view import Instance
from meshlib.control.registry import Document
from meshlib.errors import ConfigError

HTTP = Document("service-defaults", "backend", {"Protocol": "http"})


def count(world) -> int:
    """The change counter."""
    return world.store.view().count


def test_create_only(world) -> None:
    """Version 0 means "only if it does not exist"."""
    assert world.store.put(HTTP, cas=True)
    assert not world.store.put(replace(HTTP, body={"Protocol": "grpc"}), cas=True)
    assert {"Protocol": "http"} == world.store.get("service-defaults", "backend").body


def test_compare_and_set(world) -> None:
    """A write with the stored version wins once; the same version again loses."""
    world.store.put(HTTP)
    read = world.store.get("service-defaults", "backend")
    assert world.store.put(replace(read, body={"Protocol": "grpc"}), cas=True)
    assert not world.store.put(replace(read, body={"Protocol": "tcp"}), cas=True)
    assert {"Protocol": "grpc"} == world.store.get("service-defaults", "backend").body


def test_versions_never_come_back(world) -> None:
    """A document deleted and made again has another version, so an old writer loses."""
    world.store.put(HTTP)
    old = world.store.get("service-defaults", "backend")
    assert world.store.delete("service-defaults", "backend")
    assert not world.store.delete("service-defaults", "backend")
    world.store.put(HTTP)
    assert not world.store.put(replace(old, body={}), cas=True)


def test_version_is_the_counter(world) -> None:
    """A document's version is the change counter at its write."""
    world.store.put(HTTP)
    assert count(world) == world.store.get("service-defaults", "backend").version


def test_same_body_is_no_change(world) -> None:
    """Writing what is there already moves nothing, in whatever order its fields stand."""
    world.store.put(replace(HTTP, body={"a": 1, "b": [2]}))
    before = count(world)
    assert world.store.put(replace(HTTP, body=MappingProxyType({"b": [2], "a": 1})))
    assert before == count(world)


def test_body_that_is_not_json(world) -> None:
    """What JSON cannot say is refused with the document's path, and nothing is written."""
    with pytest.raises(ConfigError, match="service-defaults/backend"):
        world.store.put(replace(HTTP, body={"when": object()}))
    assert world.store.get("service-defaults", "backend") is None


def test_only_real_changes_count(world, instance: Callable[..., Instance]) -> None:
    """Registering, changing and leaving move the counter by one each, a heartbeat does not."""
    one, seen = instance(), [count(world)]
    steps = [
        lambda: world.store.enter(one),
        lambda: world.store.beat([replace(one, expires_at=1020.0)]),
        lambda: world.store.beat([replace(one, expires_at=1020.0, passing=False)]),
        lambda: world.store.beat([replace(one, expires_at=1020.0, passing=False, note="disk")]),
        lambda: world.store.beat([replace(one, expires_at=1020.0, draining=True)]),
        lambda: world.store.leave([one]),
        lambda: world.store.leave([one]),
    ]
    for step in steps:
        step()
        seen.append(count(world))
    assert [0, 1, 1, 2, 3, 4, 5, 5] == seen


def test_rows_come_back_as_written(world, instance: Callable[..., Instance]) -> None:
    """An instance is read as it was written."""
    one = instance(note="fine", draining=True)
    world.store.enter(one)
    assert (one,) == world.store.view().instances


def test_reaping_spares_who_came_back(world, instance: Callable[..., Instance]) -> None:
    """A row that had a heartbeat since it was read is not reaped."""
    one = instance()
    world.store.enter(one)
    world.store.beat([replace(one, expires_at=1020.0)])
    assert 0 == world.store.reap([one])
    assert 1 == world.store.reap([replace(one, expires_at=1020.0)])


def test_vanished_row_is_written_again(world, instance: Callable[..., Instance]) -> None:
    """A heartbeat for a row that is gone puts it back."""
    assert () == world.store.beat([instance()])
    assert (instance(),) == world.store.view().instances


def test_heartbeat_of_a_replaced_owner(world, instance: Callable[..., Instance]) -> None:
    """Who was replaced under the same id is told, and changes nothing."""
    world.store.enter(instance())
    world.store.enter(instance(token="newer"))
    assert (instance(),) == world.store.beat([instance()])
    assert "newer" == world.store.view().instances[0].token


def test_services_stay_known(world, instance: Callable[..., Instance]) -> None:
    """A service whose last instance left is still known."""
    world.store.enter(instance())
    world.store.leave([instance()])
    assert ("backend",) == world.store.view().services()


def test_reader_moves_only_for_changes(world, instance: Callable[..., Instance]) -> None:
    """A reader has nothing to do after a heartbeat, and something after a change."""
    world.store.enter(instance())
    reader = world.store.reader()
    assert reader.moved()
    reader.view()
    world.store.beat([instance(expires_at=1020.0)])
    assert not reader.moved()
    world.store.leave([instance()])
    assert reader.moved()
    assert () == reader.view().instances
    assert not reader.moved()
    reader.close()
