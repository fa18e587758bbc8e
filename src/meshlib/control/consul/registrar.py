"""
Instances of this process in Consul, and the heartbeat that keeps them alive.

A lease says what it wants to be; the worker makes it so, and again after the agent was restarted,
replaced, or lost its data.  Nothing that is served waits for the agent.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from math import inf
from urllib.parse import quote

from meshlib.control.consul.faults import AgentUnreachable, ConsulFault, NotThere, ServerTrouble
from meshlib.control.consul.http import ConsulClient
from meshlib.control.consul.registering import body, check_id, health
from meshlib.control.local.atfork import ForkLock
from meshlib.control.local.registrar import BEATS, TTL, check
from meshlib.control.local.worker import Worker
from meshlib.control.registry import Registration
from meshlib.errors import ConfigError, RegistryUnavailable

log = logging.getLogger("meshlib.control")

SERVICE, CHECK = "/v1/agent/service", "/v1/agent/check"
PATIENCE = 3.0
"""Seconds for one request of the heartbeat: an agent whose servers hang lets registrations hang."""
LAST_PATIENCE = 1.5
"""The same when the process is about to end."""

Event = Callable[[str, str, str], None]
"""As `Listener.control_event`: kind, subject, text."""


class ConsulLease:
    """One registered instance of this process."""

    def __init__(self, registrar: ConsulRegistrar, registration: Registration) -> None:
        self._registrar, self._pid = registrar, os.getpid()
        self.registration = registration
        self.passing, self.note = True, ""
        self.draining = registration.weight == 0
        self.known = self.maintained = False
        """Whether Consul has it, and has it in maintenance."""

    @property
    def mine(self) -> bool:
        """Whether this process is the one that keeps it alive; false in a forked child."""
        return self._pid == os.getpid()

    def healthy(self, *, passing: bool, note: str = "") -> None:
        """Say whether the instance wants traffic."""
        self.passing, self.note = passing, note
        self._registrar.changed(self)

    def drain(self) -> None:
        """Take the instance out of everybody's picker, but keep it known: maintenance mode."""
        self.draining = True
        self._registrar.changed(self)

    def adopt(self) -> None:
        """Keep it alive from this process on: for a forked child that took over the socket."""
        self._pid, self.known = os.getpid(), False
        self._registrar.enter(self)

    def close(self) -> None:
        """Deregister.  In a forked child that did not adopt it: nothing."""
        self._registrar.leave(self)

    def __repr__(self) -> str:
        return f"<ConsulLease {self.registration.id} of {self.registration.service}>"


class ConsulRegistrar:
    """Registers instances with the agent, and keeps them alive until `close`.

    `ttl` is in seconds: an instance not heard of for so long is critical, and gets no traffic.
    """

    def __init__(
        self, client: ConsulClient, *, event: Event, ttl: float = TTL, threaded: bool = True
    ) -> None:
        if not 0 < ttl < inf:
            raise ConfigError("ttl", ttl, "seconds > 0")
        self._client, self._event, self._ttl = client, event, ttl
        self._threaded = threaded
        self._leases: list[ConsulLease] = []
        self._lost = ""
        self._lock = ForkLock(3)
        self._worker = Worker("meshlib-heartbeat", self.beat_once, inherit=False)

    def register(self, registration: Registration) -> ConsulLease:
        """Announce an instance; one of the same id is replaced.

        An agent that cannot be reached now hears of it as soon as it can.  Raises ConfigError for
        a registration that is none, ConsulFault for one that the agent refuses.
        """
        check(registration)
        lease = ConsulLease(self, registration)
        self.enter(lease)
        return lease

    def enter(self, lease: ConsulLease) -> None:
        """Register a lease, and begin to keep it alive."""
        with self._lock:
            others = [it for it in self._leases if it.registration.id != lease.registration.id]
            self._leases = [*others, lease]
            try:
                self._make_so(lease)
            except (AgentUnreachable, ServerTrouble) as exc:
                self._say_lost(lease, exc)
            except RegistryUnavailable:
                self._leases = others
                raise
        if self._threaded:
            self._worker.start()
            self._worker.wake()

    def beat_once(self) -> float:
        """Keep all leases of this process alive; returns the seconds until the next heartbeat.

        Raises ConsulFault, after all of them had their turn.
        """
        failure: ConsulFault | None = None
        with self._lock:
            for lease in [each for each in self._leases if each.mine]:
                try:
                    self._make_so(lease)
                except ConsulFault as exc:
                    failure = exc
                    self._say_lost(lease, exc)
        if failure is not None:
            raise failure
        if self._lost:
            self._lost = ""
            log.info("Consul hears the heartbeat again")
        return self._ttl / BEATS

    def changed(self, lease: ConsulLease) -> None:
        """A lease wants to be something else: at once if the agent answers, else when it does."""
        if not lease.mine:
            log.warning("%r: only its owner may change it, adopt() it first", lease)
            return
        with self._lock:
            if lease not in self._leases:
                return
            try:
                self._make_so(lease)
            except ConsulFault as exc:
                self._say_lost(lease, exc)
                self._worker.wake()

    def leave(self, lease: ConsulLease) -> None:
        """Remove a lease."""
        with self._lock:
            if not (lease.mine and lease in self._leases):
                return
            self._leases.remove(lease)
            path = f"{SERVICE}/deregister/{_quoted(lease)}"
            try:
                self._client.put(path, timeout=LAST_PATIENCE)
            except NotThere:
                pass
            except ConsulFault as exc:
                log.warning("%r is not deregistered, Consul will notice in time: %s", lease, exc)

    def close(self) -> None:
        """Remove all leases of this process and stop the heartbeat."""
        for lease in tuple(self._leases):
            self.leave(lease)
        self._worker.stop()

    def _make_so(self, lease: ConsulLease) -> None:
        """Have Consul know the lease as it wants to be."""
        if lease.known:
            try:
                self._keep(lease)
            except (NotThere, ServerTrouble):  # 1.8 says 500 of a check it does not know
                if self._has(lease):
                    raise
                lease.known = False
            else:
                return
        self._enter(lease)
        lease.known = True

    def _keep(self, lease: ConsulLease) -> None:
        if lease.draining and not lease.maintained:
            self._maintain(lease)
        self._update(lease)

    def _enter(self, lease: ConsulLease) -> None:
        """Register it.  One that is to get no traffic gets none in between."""
        passing = lease.passing and not lease.draining
        said = body(lease.registration, ttl=self._ttl, passing=passing)
        self._client.put(
            f"{SERVICE}/register", said, timeout=PATIENCE, **{"replace-existing-checks": "true"}
        )
        self._maintain(lease)
        self._update(lease)  # a check that was there keeps its state when registered anew

    def _update(self, lease: ConsulLease) -> None:
        path = f"{CHECK}/update/{quote(check_id(lease.registration), safe='')}"
        said = health(passing=lease.passing, note=lease.note)
        self._client.put(path, said, timeout=PATIENCE)

    def _maintain(self, lease: ConsulLease) -> None:
        enable = "true" if lease.draining else "false"
        path = f"{SERVICE}/maintenance/{_quoted(lease)}"
        self._client.put(path, timeout=PATIENCE, enable=enable, reason="draining (meshlib)")
        lease.maintained = lease.draining

    def _has(self, lease: ConsulLease) -> bool:
        try:
            found = self._client.get(f"{SERVICE}/{_quoted(lease)}", timeout=PATIENCE)
        except NotThere:
            return False
        checks = self._client.get(f"{CHECK}s", timeout=PATIENCE)
        return found.status == 200 and check_id(lease.registration) in (checks.body or {})

    def _say_lost(self, lease: ConsulLease, fault: ConsulFault) -> None:
        """Once for each reason, not with each heartbeat."""
        if fault.what != self._lost:
            self._lost = fault.what
            self._event("heartbeat-lost", lease.registration.service, str(fault))


def _quoted(lease: ConsulLease) -> str:
    return quote(lease.registration.id, safe="")
