"""
Leases: instances of this process, kept alive by one heartbeat thread.

A heartbeat writes the whole wish of the owner, so that a row which vanished comes back, and a
wish that could not be written at once is written later.  The methods of a lease do not raise for
an unavailable store: the heartbeat tries on, and if all else fails the time to live decides.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable
from dataclasses import replace
from math import inf

from meshlib.control.local.atfork import ForkLock
from meshlib.control.local.process import Process, current
from meshlib.control.local.store import Store
from meshlib.control.local.view import Instance
from meshlib.control.local.worker import Worker
from meshlib.control.registry import Registration
from meshlib.errors import ConfigError, RegistryUnavailable
from meshlib.runtime import Clock, real_clock
from meshlib.trust.spiffe import check_name

log = logging.getLogger("meshlib.control")

TTL = 10.0
"""Seconds: Consul's usual TTL check."""
BEATS = 3
"""Heartbeats in one time to live, so that two may be late: the rule of Eureka (30 s, 90 s)."""
MAX_PORT = MAX_WEIGHT = 65535
"""Consul's own bound for both."""


def check(registration: Registration) -> None:
    """Raise ConfigError for a registration that cannot be used."""
    it = registration
    check_name("registration.service", it.service)
    _check_text("registration.id", it.id)
    _check_text("registration.host", it.host)
    _check_range("registration.port", it.port, 1, MAX_PORT)
    _check_range("registration.weight", it.weight, 0, MAX_WEIGHT)
    for key, value in it.meta.items():
        if not all(isinstance(each, str) for each in (key, value)):
            raise ConfigError(f"registration.meta[{key!r}]", value, "text for text")


def _check_text(path: str, value: object) -> None:
    if not (isinstance(value, str) and value and value.isprintable()):
        raise ConfigError(path, value, "printable text, not empty")


def _check_range(path: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not (isinstance(value, int) and least <= value <= most):
        raise ConfigError(path, value, f"an integer {least}..{most}")


class LocalLease:
    """One registered instance of this process."""

    def __init__(self, registrar: LocalRegistrar, instance: Instance) -> None:
        self._registrar = registrar
        self._pid = os.getpid()
        self.instance = instance

    @property
    def mine(self) -> bool:
        """Whether this process is the one that keeps it alive; false in a forked child."""
        return self._pid == os.getpid()

    def healthy(self, *, passing: bool, note: str = "") -> None:
        """Say whether the instance wants traffic."""
        self._registrar.wish(self, passing=passing, note=note)

    def drain(self) -> None:
        """Take the instance out of everybody's picker, but keep it known."""
        self._registrar.wish(self, draining=True)

    def adopt(self) -> None:
        """Keep the instance alive from this process on, instead of the one that registered it.

        For a forked child that took over the listening socket.  Raises RegistryUnavailable.
        """
        self._pid = os.getpid()
        self._registrar.enter(self)

    def close(self) -> None:
        """Deregister.  In a forked child that did not adopt it: nothing."""
        self._registrar.leave(self)

    def __repr__(self) -> str:
        service, id_ = self.instance.key
        return f"<LocalLease {id_} of {service}, owner {self._pid}>"


class LocalRegistrar:
    """Registers instances in a store, and keeps them alive until `close`."""

    def __init__(
        self,
        store: Store,
        *,
        ttl: float = TTL,
        clock: Clock = real_clock,
        here: Callable[[], Process] = current,
        threaded: bool = True,
    ) -> None:
        if not 0 < ttl < inf:
            raise ConfigError("ttl", ttl, "seconds > 0")
        self._store, self._ttl, self._clock, self._here = store, ttl, clock, here
        self._threaded = threaded
        self._leases: list[LocalLease] = []
        self._lock = ForkLock(3)
        self._worker = Worker("meshlib-heartbeat", self.beat_once, inherit=False)

    def register(self, registration: Registration) -> LocalLease:
        """Announce an instance; one of the same service and id is replaced.

        Raises RegistryUnavailable, ConfigError.
        """
        check(registration)
        lease = LocalLease(self, Instance(registration, "", self._here(), self._ttl, 0.0))
        self.enter(lease)
        return lease

    def enter(self, lease: LocalLease) -> None:
        """Write a lease under a new token, and begin to keep it alive."""
        with self._lock:
            lease.instance = replace(
                lease.instance, token=secrets.token_hex(16), process=self._here()
            )
            self._store.enter(self._alive(lease))
            others = [it for it in self._leases if it.instance.key != lease.instance.key]
            self._leases = [*others, lease]
        if self._threaded:
            self._worker.start()

    def beat_once(self) -> float:
        """Keep all leases of this process alive; returns the seconds until the next heartbeat.

        Raises RegistryUnavailable.
        """
        with self._lock:
            self._beat([lease for lease in self._leases if lease.mine])
        return self._ttl / BEATS

    def wish(
        self,
        lease: LocalLease,
        *,
        passing: bool | None = None,
        note: str | None = None,
        draining: bool | None = None,
    ) -> None:
        """Change what a lease wants to be; None leaves it as it is."""
        if not lease.mine:
            log.warning("%r: only its owner may change it, adopt() it first", lease)
            return
        with self._lock:
            it = lease.instance
            lease.instance = replace(
                it,
                passing=it.passing if passing is None else passing,
                note=it.note if note is None else note,
                draining=it.draining if draining is None else draining,
            )
            if lease in self._leases:
                self._try(lambda: self._beat([lease]))

    def leave(self, lease: LocalLease) -> None:
        """Remove a lease."""
        with self._lock:
            if lease.mine and lease in self._leases:
                self._leases.remove(lease)
                self._try(lambda: self._store.leave([lease.instance]))

    def close(self) -> None:
        """Remove all leases of this process and stop the heartbeat."""
        for lease in tuple(self._leases):
            self.leave(lease)
        self._worker.stop()

    def _alive(self, lease: LocalLease) -> Instance:
        lease.instance = replace(lease.instance, expires_at=self._clock() + self._ttl)
        return lease.instance

    def _beat(self, leases: list[LocalLease]) -> None:
        if not leases:
            return
        lost = self._store.beat(map(self._alive, leases))
        for lease in leases:
            if lease.instance in lost:
                self._leases.remove(lease)
                log.warning("%r: another process has registered the same id since", lease)

    def _try(self, write: Callable[[], object]) -> None:
        try:
            write()
        except RegistryUnavailable as exc:
            log.warning("not written now: %s", exc)
            self._worker.wake()
