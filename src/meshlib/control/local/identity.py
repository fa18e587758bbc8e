"""
Certificates for the services of this process, renewed before they expire.

The work is `renew_due`, an ordinary method that a test calls with its own clock; the daemon thread
around it only waits, and tenacity paces what fails.  A failed renewal costs nothing at first: the
old leaf has a third of its life left, and serves.  A rotation of the CA is followed by the same
work: its bundle at once, and a new leaf as soon as another root signs.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import chain
from pathlib import Path

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_when_event_set,
    wait_random_exponential,
)

from meshlib.control import federation
from meshlib.control.federation import Federation
from meshlib.control.local.alarm import Alarm, Event, moment, nobody_listens, overdue_at, words
from meshlib.control.local.ca import LEAF_TTL, LocalCA
from meshlib.control.local.folder import read_private
from meshlib.errors import IdentityUnavailable, MeshError
from meshlib.runtime import Rng
from meshlib.trust import spiffe
from meshlib.trust.bundle import Credentials, LeafCert, TrustBundle
from meshlib.trust.spiffe import SpiffeId
from meshlib.watch import Watch

RENEW_AT = 2 / 3
"""Share of a leaf's life at which it is replaced at the latest, as cert-manager does by default."""
JITTER = 1 / 6
"""Width of the band before it, so that what started together does not renew together."""
LONGEST_PAUSE = 60.0
"""Seconds between two tries of a renewal that fails."""
_JUST_AFTER = 0.001
POLL = 1.0
"""Seconds between two looks at the clock and at the CA's state: one small file is read."""


def renew_at(leaf: LeafCert, rng: Rng) -> float:
    """When to replace a leaf, Unix time: between a half and two thirds of its life."""
    return moment(leaf, RENEW_AT - JITTER * rng.random())


@dataclass(slots=True)
class _Entry:
    """One service this process speaks as."""

    spiffe_id: SpiffeId
    watch: Watch[Credentials]
    due: float
    signed_by: int
    """The generation of the CA's root that was active when the leaf was made."""


class LocalIdentity:
    """An `IdentitySource` on the CA in `folder`.

    `now` gives Unix time, `leaf_ttl` and `poll` are seconds.  Nothing is opened and no thread runs
    before the first `credentials`.  After a fork the child renews for itself.  `event` hears what
    people should know.  Raises ConfigError for a bad trust domain.
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
        event: Event = nobody_listens,
    ) -> None:
        SpiffeId(trust_domain)
        self._event, self._alarm = event, Alarm(event)
        self._trust_domain = trust_domain
        self._now, self._rng, self._poll = now, rng, poll
        self._open_ca: Callable[[], LocalCA] = lambda: LocalCA(
            folder, trust_domain, now=now, leaf_ttl=leaf_ttl
        )
        self._federation = Federation(folder / federation.FOLDER, read_private, event)
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

    def overdue(self, service: str) -> bool:
        """Whether the leaf of `service` should have been renewed, and was not."""
        entry = self._entries.get(service)
        return entry is not None and self._now() > overdue_at(entry.watch.value.leaf)

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
                    self._explain_expiry(entry, exc)
            leaves = [(name, each.watch.value.leaf) for name, each in self._entries.items()]
        if failure is None:
            self._alarm.works()
            return
        self._alarm.failed(failure, leaves, self._now())
        raise failure

    def close(self) -> None:
        """Stop the thread; later calls do nothing."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _first(self, spiffe_id: SpiffeId) -> _Entry:
        signing, leaf, bundle = self._issue(spiffe_id)
        credentials = Credentials(leaf, self._with(bundle), 1)
        watch = Watch(credentials, ready=True)
        return _Entry(spiffe_id, watch, renew_at(leaf, self._rng), signing)

    def _renew(self, entry: _Entry) -> None:
        old = entry.watch.value
        if self._is_due(entry):
            entry.signed_by, leaf, bundle = self._issue(entry.spiffe_id)
            entry.due = renew_at(leaf, self._rng)
        else:
            leaf, bundle = old.leaf, self._opened().bundle()
        bundles = self._with(bundle)
        if leaf is not old.leaf or bundles != old.bundles:
            entry.watch.set(Credentials(leaf, bundles, old.generation + 1))
        if bundles != old.bundles:
            roots = chain.from_iterable(each.roots for each in bundles.values())
            known = ", ".join(sorted(sha256(each).hexdigest()[:16] for each in roots))
            self._event("roots-changed", str(entry.spiffe_id), f"the roots trusted are now {known}")

    def _with(self, own: TrustBundle) -> dict[str, TrustBundle]:
        return {**self._federation.look(own.trust_domain), own.trust_domain: own}

    def _is_due(self, entry: _Entry) -> bool:
        """At its time, when another root signs, or when the clock was set back before its life."""
        now = self._now()
        if now >= entry.due or now < entry.watch.value.leaf.not_before:
            return True
        return self._opened().signing() != entry.signed_by

    def _issue(self, spiffe_id: SpiffeId) -> tuple[int, LeafCert, TrustBundle]:
        ca = self._opened()
        signing = ca.signing()  # asked first: if it changes now, the leaf is renewed once too often
        return signing, ca.issue(spiffe_id), ca.bundle()

    def _explain_expiry(self, entry: _Entry, exc: Exception) -> None:
        """Have calls that fail for an expired leaf say why it was not renewed."""
        old = entry.watch.value
        why, hint = words(exc), exc.hint if isinstance(exc, MeshError) else ""
        if self._now() > old.leaf.not_after and why != old.trouble:
            generation = old.generation + 1
            entry.watch.set(replace(old, generation=generation, trouble=why, remedy=hint))

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
            wait=self._pause,
            sleep=sleep_using_event(stop),
            stop=stop_when_event_set(stop),
            retry_error_callback=lambda _: None,  # closed in the middle of a failure
        )
        while not stop.wait(self._poll):
            retrying(self.renew_due)

    def _pause(self, state: RetryCallState) -> float:
        """Longer after every failure, but never past a moment at which somebody should be told."""
        pause = wait_random_exponential(multiplier=self._poll, max=LONGEST_PAUSE)(state)
        with self._lock:
            leaves = [entry.watch.value.leaf for entry in self._entries.values()]
        now = self._now()
        marks = [mark - now for leaf in leaves for mark in (overdue_at(leaf), leaf.not_after)]
        return min([pause, *(left + _JUST_AFTER for left in marks if left >= 0)])

    def after_fork(self) -> None:
        """Start again in a child, where the parent's thread and lock holders do not exist."""
        running, self._thread = self._thread is not None, None
        self._lock = threading.RLock()
        if self._stop.is_set():
            return
        self._stop = threading.Event()
        if running:
            self._start()


_alive: weakref.WeakSet[LocalIdentity] = weakref.WeakSet()


def _restart_all() -> None:
    for identity in list(_alive):
        identity.after_fork()


os.register_at_fork(after_in_child=_restart_all)
