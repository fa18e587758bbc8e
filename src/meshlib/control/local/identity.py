"""
Certificates for the services of this process, renewed before they expire.

The work is `renew_due`, an ordinary method that a test calls with its own clock; the daemon thread
around it only waits, and tenacity paces what fails.  A failed renewal costs nothing at first: the
old leaf has a third of its life left, and serves.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_when_event_set,
    wait_random_exponential,
)

from meshlib.control.local.ca import LEAF_TTL, LocalCA
from meshlib.errors import IdentityUnavailable
from meshlib.runtime import Rng
from meshlib.trust import spiffe
from meshlib.trust.bundle import Credentials, LeafCert, TrustBundle
from meshlib.trust.spiffe import SpiffeId
from meshlib.watch import Watch

logger = logging.getLogger("meshlib.identity")

RENEW_AT = 2 / 3
"""Share of a leaf's life after which it is replaced, as cert-manager does by default."""
JITTER = 0.2
"""Width of the band around it, so that what started together does not renew together."""
WORRY_AT = 0.7
"""Share of its life after which a failed renewal is worth a warning."""
LONGEST_PAUSE = 60.0
"""Seconds between two tries of a renewal that fails."""
POLL = 1.0
"""Seconds between two looks at the clock and at the CA's state: one small file is read."""


def renew_at(leaf: LeafCert, rng: Rng) -> float:
    """When to replace a leaf, Unix time: at 2/3 of its life, give or take a tenth of it."""
    return _moment(leaf, RENEW_AT + JITTER * (rng.random() - 0.5))


@dataclass(slots=True)
class _Entry:
    """One service this process speaks as."""

    spiffe_id: SpiffeId
    watch: Watch[Credentials]
    due: float


class LocalIdentity:
    """An `IdentitySource` on the CA in `folder`.

    `now` gives Unix time, `leaf_ttl` and `poll` are seconds.  Nothing is opened and no thread runs
    before the first `credentials`.  After a fork the child renews for itself.  Raises ConfigError
    for a bad trust domain.
    """

    def __init__(
        self,
        folder: Path,
        trust_domain: str,
        *,
        now: Callable[[], float],
        rng: Rng,
        leaf_ttl: float = LEAF_TTL,
        poll: float = POLL,
    ) -> None:
        SpiffeId(trust_domain)
        self._trust_domain = trust_domain
        self._now, self._rng, self._poll = now, rng, poll
        self._open_ca: Callable[[], LocalCA] = lambda: LocalCA(
            folder, trust_domain, now=now, leaf_ttl=leaf_ttl
        )
        self._ca: LocalCA | None = None
        self._entries: dict[str, _Entry] = {}
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        _alive.add(self)

    def spiffe_id(self, service: str) -> str:
        """The id that instances of `service` prove.  Raises ConfigError for a bad name."""
        return str(spiffe.service_id(self._trust_domain, service))

    def credentials(self, service: str) -> Watch[Credentials]:
        """The leaf of `service` and the roots to trust; the same watch for the same name.

        The first value is there when this returns.  Raises ConfigError for a bad name or an
        unusable folder, IdentityUnavailable, ControlError.
        """
        spiffe_id = spiffe.service_id(self._trust_domain, service)
        with self._lock:
            if self._stop.is_set():
                raise IdentityUnavailable(f"no certificate for {service}", why="the mesh is closed")
            if service not in self._entries:
                self._entries[service] = self._first(spiffe_id)
            self._start()
            return self._entries[service].watch

    def renew_due(self) -> None:
        """Replace every leaf whose time has come, and every bundle that changed on disk.

        All services are tried; what could not be renewed is left as it was, and the first error is
        raised afterwards.
        """
        failure: Exception | None = None
        with self._lock:
            for entry in self._entries.values():
                try:
                    self._renew(entry)
                except Exception as exc:  # noqa: BLE001 - one service must not starve the others
                    failure = failure or exc
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Stop the thread; later calls do nothing."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _first(self, spiffe_id: SpiffeId) -> _Entry:
        leaf, bundle = self._issue(spiffe_id)
        credentials = Credentials(leaf, {bundle.trust_domain: bundle}, 1)
        return _Entry(spiffe_id, Watch(credentials, ready=True), renew_at(leaf, self._rng))

    def _renew(self, entry: _Entry) -> None:
        old = entry.watch.value
        if self._now() >= entry.due:
            leaf, bundle = self._issue(entry.spiffe_id)
            entry.due = renew_at(leaf, self._rng)
        else:
            leaf, bundle = old.leaf, self._opened().bundle()
        bundles = {bundle.trust_domain: bundle}
        if leaf is not old.leaf or bundles != old.bundles:
            entry.watch.set(Credentials(leaf, bundles, old.generation + 1))

    def _issue(self, spiffe_id: SpiffeId) -> tuple[LeafCert, TrustBundle]:
        ca = self._opened()
        return ca.issue(spiffe_id), ca.bundle()

    def _opened(self) -> LocalCA:
        if self._ca is None:
            self._ca = self._open_ca()
        return self._ca

    # -- the rim: time and the thread

    def _start(self) -> None:
        if self._thread is None:
            name = "meshlib-identity"
            self._thread = threading.Thread(target=self._run, name=name, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        stop = self._stop
        retrying = Retrying(
            retry=retry_if_exception_type(Exception),
            wait=wait_random_exponential(multiplier=self._poll, max=LONGEST_PAUSE),
            sleep=sleep_using_event(stop),
            stop=stop_when_event_set(stop),
            before_sleep=self._report,
            retry_error_callback=lambda _: None,  # closed in the middle of a failure
        )
        while not stop.wait(self._poll):
            retrying(self.renew_due)

    def _report(self, state: RetryCallState) -> None:
        cause = state.outcome.exception() if state.outcome else None
        late = self._late()
        for leaf in late:
            message = "%s is valid until %.0f (Unix time) and cannot be renewed: %s"
            logger.warning(message, leaf.spiffe_id, leaf.not_after, cause)
        if not late:
            logger.debug("a renewal failed while every leaf has time left: %s", cause)

    def _late(self) -> list[LeafCert]:
        with self._lock:
            leaves = [entry.watch.value.leaf for entry in self._entries.values()]
        return [leaf for leaf in leaves if self._now() > _moment(leaf, WORRY_AT)]

    def after_fork(self) -> None:
        """Start again in a child, where the parent's thread and lock holders do not exist."""
        running, self._thread = self._thread is not None, None
        self._lock = threading.RLock()
        if self._stop.is_set():
            return
        self._stop = threading.Event()
        if running:
            self._start()


def _moment(leaf: LeafCert, share: float) -> float:
    return leaf.not_before + share * (leaf.not_after - leaf.not_before)


_alive: weakref.WeakSet[LocalIdentity] = weakref.WeakSet()


def _restart_all() -> None:
    for identity in list(_alive):
        identity.after_fork()


os.register_at_fork(after_in_child=_restart_all)
