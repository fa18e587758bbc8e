"""
From the store to watches: one thread polls one counter, and reads only when it must.

It must when the change counter moved, and when an instance's time is up.  Whoever notices that an
instance is dead - its time to live is over, or its process has ended - also removes it, in one
transaction that does nothing if it has come back or somebody else was quicker.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf
from typing import TypeVar

from meshlib.control.local.atfork import ForkLock
from meshlib.control.local.process import Process, boot_id, current, is_gone
from meshlib.control.local.store import Store
from meshlib.control.local.view import View
from meshlib.control.local.worker import Worker
from meshlib.control.registry import Document
from meshlib.errors import RegistryUnavailable
from meshlib.model import Failed, Resolution
from meshlib.runtime import Clock, real_clock
from meshlib.watch import Watch

log = logging.getLogger("meshlib.control")

T = TypeVar("T")

POLL = 0.03
"""Seconds between two looks at the counter: a third of the 100 ms in which a change is to arrive,
and still less than half a per cent of a core (bench/store_propagation.py)."""
LOOK = 0.5
"""Seconds between two looks at the processes: a killed one is to be noticed within a second."""


class Watcher:
    """Follows the store on a daemon thread, from the first question until `close`.

    If the store becomes unreadable every watch keeps its last value; if it cannot be written (a
    full disk), nobody is taken for dead because of missing heartbeats.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock = real_clock,
        here: Callable[[], Process] = current,
        threaded: bool = True,
    ) -> None:
        self._store, self._clock, self._here, self._threaded = store, clock, here, threaded
        self._boot = boot_id()
        self._reader = store.reader()
        self._view: View | None = None
        self._due = self._look_at = self._mistrust = -inf
        self._confirmed: float | None = None
        self._endpoints: dict[str, Watch[Resolution]] = {}
        self._documents: dict[str, Watch[tuple[Document, ...]]] = {}
        self._lock = ForkLock(2)
        self._worker = Worker("meshlib-watch", self.poll_once, inherit=True)
        self._closed = False

    def endpoints(self, service: str) -> Watch[Resolution]:
        """The endpoints of a service; `Failed` while the store could never be read."""
        with self._lock:
            if service not in self._endpoints:
                self._endpoints[service] = Watch(self._first_resolution(service), ready=True)
            found = self._endpoints[service]
        self._follow()
        return found

    def documents(self, name: str) -> Watch[tuple[Document, ...]]:
        """The documents of that name; not ready while the store could never be read."""
        with self._lock:
            if name not in self._documents:
                self._documents[name] = self._first_documents(name)
            found = self._documents[name]
        self._follow()
        return found

    def poll_once(self) -> float:
        """Bring all watches up to date; returns the seconds until that is worth doing again.

        Raises RegistryUnavailable, and leaves the watches as they are.
        """
        now = self._clock()
        if self._view and now >= self._look_at:
            self._look_at = now + LOOK
            self._remove_ended(self._view)
        if now >= self._due or self._reader.moved():
            self._publish()
        self._confirmed = now
        return POLL

    def age(self) -> float | None:
        """Seconds since the store last confirmed the values of all watches; None: not yet."""
        confirmed = self._confirmed
        return None if confirmed is None else max(self._clock() - confirmed, 0.0)

    def close(self) -> None:
        """Stop following; the watches keep their last value."""
        self._closed = True
        self._worker.stop()
        self._reader.close()

    def _follow(self) -> None:
        if self._threaded and not self._closed:
            self._worker.start()

    def _first_resolution(self, service: str) -> Resolution:
        try:
            view = self._store.view()
        except RegistryUnavailable as exc:
            self._due = -inf
            return Failed(str(exc))
        now = self._confirmed = self._clock()
        if now < self._mistrust:
            view = view.spare(tuple(view.dead(now, self._boot)), now)
        ((_, resolution),) = view.resolve([service], now, self._boot)
        return resolution

    def _first_documents(self, name: str) -> Watch[tuple[Document, ...]]:
        try:
            return Watch(self._store.view().named(name), ready=True)
        except RegistryUnavailable:
            self._due = -inf
            return Watch(())

    def _remove_ended(self, view: View) -> None:
        here = self._here()
        ended = [each for each in view.instances if is_gone(each.process, here)]
        if ended and self._store.leave(ended):
            log.info("removed instances whose process has ended: %s", [each.key for each in ended])

    def _publish(self) -> None:
        with self._lock:  # watches made from here on have read the store themselves
            endpoints, documents = dict(self._endpoints), dict(self._documents)
        view = self._reader.view()
        now = self._clock()
        self._due = -inf  # a dead row not yet removed may come back unannounced
        self._view = view = self._believe(view, now)
        for service, resolution in view.resolve(endpoints, now, self._boot):
            _tell(endpoints[service], resolution)
        for name, watch in documents.items():
            _tell(watch, view.named(name))

    def _believe(self, view: View, now: float) -> View:
        """Remove instances whose time is up, if their silence means something; who is left.

        When nothing can be written, no heartbeat could be either.  Afterwards they have a time to
        live to be heard of again.
        """
        dead = tuple(view.dead(now, self._boot))
        if not dead:
            self._due = view.next_expiry(now, self._boot)
            return view
        if now >= self._mistrust:
            try:
                if self._store.reap(dead) == len(dead):
                    self._due = view.next_expiry(now, self._boot)
            except RegistryUnavailable as exc:
                self._mistrust = now + max(each.ttl for each in dead)
                log.warning("silent instances are kept, for nobody can be heard now: %s", exc)
            else:
                return view
        self._due = self._mistrust
        return view.spare(dead, now)


def _tell(watch: Watch[T], value: T) -> None:
    try:
        watch.set(value)
    except Exception:
        log.exception("a subscriber failed")
