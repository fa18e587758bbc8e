"""A store in a private folder, a clock that tests move, and processes that tests end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from meshlib.control.local.process import Process, current
from meshlib.control.local.registrar import LocalRegistrar
from meshlib.control.local.store import Store
from meshlib.control.local.view import Instance
from meshlib.control.local.watcher import Watcher
from meshlib.control.registry import Registration


@dataclass
class Clock:
    """Seconds that pass when the test says so."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class World:
    """One store and what watches and writes it, without threads."""

    folder: Path
    clock: Clock = field(default_factory=Clock)
    here: Process = field(default_factory=current)

    def __post_init__(self) -> None:
        self.store = Store(self.folder)
        self.watcher = self.another_watcher()
        self.registrar = self.another_registrar()

    def another_watcher(self) -> Watcher:
        return Watcher(self.store, clock=self.clock, threaded=False)

    def another_registrar(self) -> LocalRegistrar:
        return LocalRegistrar(self.store, clock=self.clock, here=lambda: self.here, threaded=False)

    def close(self) -> None:
        self.watcher.close()
        self.registrar.close()
        self.store.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A store, a watcher and a registrar in one process."""
    made = World(tmp_path / "home")
    yield made
    made.close()


@pytest.fixture
def registration() -> Callable[..., Registration]:
    """Make a registration of `backend`."""

    def make(id_: str = "b1", service: str = "backend", **more: object) -> Registration:
        return Registration(service, id_, "127.0.0.1", 8001, **more)

    return make


@pytest.fixture
def instance(registration: Callable[..., Registration]) -> Callable[..., Instance]:
    """Make a living instance, as of second 1000."""

    def make(id_: str = "b1", service: str = "backend", **more: object) -> Instance:
        here = current()
        it = Instance(registration(id_, service), f"token-{id_}", here, 10.0, 1010.0)
        return replace(it, **more)

    return make
