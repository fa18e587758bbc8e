"""
What this process believes of others, whatever happens to Consul.

Between what discovery hears and what the balancers see stand the empty-answer guard and, on a start
while Consul is down, the snapshot on disk.  A request waits for neither: it reads a `Watch`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from meshlib.control.consul.followed import PATIENCE, Followed
from meshlib.control.consul.guard import HOLD, Guard
from meshlib.control.consul.snapshot import Kept, SnapshotFile
from meshlib.control.local.atfork import ForkLock
from meshlib.control.local.worker import Worker
from meshlib.control.registry import Document
from meshlib.errors import ControlError
from meshlib.model import Bound, Neg, Resolution, Snapshot
from meshlib.runtime import Clock, real_clock
from meshlib.trust.intention import IntentionSet
from meshlib.watch import Watch

POLL = 1.0
"""Seconds between two looks at what is held, and what is to be written."""
WRITE_EVERY = 5.0
"""Seconds between two writes of the snapshot at least."""
REFRESH = 600.0
"""Seconds after which it is written although nothing has changed: that is news, too."""

Event = Callable[[str, str, str], None]
"""As `Listener.control_event`: kind, subject, text."""
Age = Callable[[str], float | None]
"""Seconds since Consul last confirmed what is known by a name; None: it never did."""
Documents = tuple[Document, ...]


def never(_: str) -> None:
    """Nobody knows when Consul confirmed what is known."""


class Memory:
    """Stands between the watches of discovery and everybody else.

    `agent` names the cluster; `now` gives Unix time.  `file` None keeps nothing on disk.
    """

    def __init__(
        self,
        agent: str,
        file: SnapshotFile | None,
        *,
        event: Event,
        age: Age = never,
        clock: Clock = real_clock,
        now: Callable[[], float] = time.time,
        threaded: bool = True,
    ) -> None:
        self._agent, self._file, self._event, self._age = agent, file, event, age
        self._clock, self._now = clock, now
        self._threaded = threaded
        self._endpoints: dict[str, Followed[Resolution]] = {}
        self._guards: dict[str, Guard] = {}
        self._documents: dict[str, Followed[Documents]] = {}
        self._intentions: dict[str, Any] = {}
        self._unheard: dict[str, tuple[float, Callable[[Any], object]]] = {}
        self._lock = ForkLock(3)
        self._kept: Kept | None = None
        self._read = self._closed = False
        self._written: Kept | None = None
        self._not_written = ""
        self._write_at, self._refresh_at = clock(), clock()
        self._worker = Worker("meshlib-memory", self.step, inherit=True)

    # ---- what is followed

    def endpoints(self, name: str, source: Watch[Resolution]) -> Watch[Resolution]:
        """What is believed of a service; the same watch for the same name."""
        with self._lock:
            found = self._endpoints.get(name)
            if found is None:
                guard = self._guards[name] = Guard(self._clock)
                followed = self._endpoints[name] = Followed(
                    source, self._clock(), lambda said: self._guarded(name, guard, said)
                )
        if found is None:  # without the lock, as those who are told take locks of their own
            source.subscribe(followed.update)
            self._start()
            return followed.told
        return found.told

    def documents(self, name: str, source: Watch[Documents]) -> Watch[Documents]:
        """The documents of a service, or those that were kept."""
        with self._lock:
            found = self._documents.get(name)
            if found is None:
                followed = Followed(source, self._clock(), lambda said: said)
                self._documents[name] = followed
        if found is None:
            source.subscribe(followed.update)
            self._start()
            return followed.told
        return found.told

    def intentions(
        self, service: str, source: Watch[IntentionSet], recall: Callable[[Any], object]
    ) -> Watch[IntentionSet]:
        """Have `recall` read what was kept of Consul's words, should Consul say nothing now."""
        with self._lock:
            if not source.ready and service not in self._unheard:
                self._unheard[service] = self._clock(), recall
        self._start()
        return source

    def heard_intentions(self, service: str, said: Any) -> None:
        """Keep what Consul says of who may call a service."""
        with self._lock:
            self._intentions[service] = said
            self._unheard.pop(service, None)

    def _guarded(self, name: str, guard: Guard, said: Resolution) -> Resolution:
        """What the guard makes of it."""
        before = guard.holding
        believed = guard.update(said)
        if self._closed:
            return believed
        if guard.holding and not before:
            text = f"most of its endpoints vanished at once; they are kept for {HOLD:g} s"
            self._event("endpoints-held", name, text)
        elif before and not guard.holding:
            self._event("endpoints-released", name, "what Consul says of it is believed again")
        return believed

    # ---- as time passes

    def step(self) -> float:
        """Let go of what was held long enough, fall back on the snapshot, and write it.

        Returns the seconds until the next step.
        """
        with self._lock:
            holding = [self._endpoints[name] for name, it in self._guards.items() if it.holding]
        for each in holding:
            each.update()
        self._fall_back()
        if self._clock() >= self._write_at:
            self._write()
        return POLL

    def close(self) -> None:
        """Write what is known, and stop; what happens from now on is nobody's concern."""
        self._worker.stop()
        self._write()
        self._closed = True

    def _start(self) -> None:
        if self._threaded:
            self._worker.start()

    # ---- the snapshot speaks

    def _fall_back(self) -> None:
        """Let the snapshot speak where Consul has not, and has had its time."""
        now = self._clock()
        with self._lock:
            endpoints = {name: it for name, it in self._endpoints.items() if it.late(now)}
            documents = {name: it for name, it in self._documents.items() if it.late(now)}
            unheard = [name for name, (at, _) in self._unheard.items() if now - at >= PATIENCE]
        if not (endpoints or documents or unheard):
            return
        kept = self._snapshot()
        if kept is None:
            return
        for name, following in endpoints.items():
            self._recall_endpoints(name, following, kept)
        for name, followed in documents.items():
            if name in kept.documents:
                followed.recall(kept.documents[name])
        for name in unheard:
            if name in kept.intentions:
                self._recall(name, kept)

    def _recall_endpoints(self, name: str, followed: Followed[Resolution], kept: Kept) -> None:
        snapshot = kept.endpoints.get(name)
        if snapshot is None or not snapshot.endpoints:
            return
        believed = Bound(snapshot)
        if followed.recall(believed, lambda: self._guards[name].believe(believed)):
            self._say_used(name, kept)

    def _recall(self, service: str, kept: Kept) -> None:
        with self._lock:
            _, recall = self._unheard.pop(service, (0.0, None))
        if recall is not None:
            recall(kept.intentions[service])
            self._say_used(service, kept)

    def _say_used(self, name: str, kept: Kept) -> None:
        age = self._now() - kept.at[name]
        self._event(
            "snapshot-used", name, f"Consul does not answer; what was known {age:.0f} s ago is used"
        )

    def _snapshot(self) -> Kept | None:
        if not self._read and self._file is not None:
            self._read = True
            try:
                self._kept = self._file.read(self._agent, self._now())
            except (ControlError, OSError) as exc:
                self._event("snapshot-refused", self._agent, str(exc))
        return self._kept

    # ---- the snapshot is written

    def _write(self) -> None:
        """Write what Consul has said, if that is something else than what was written."""
        now = self._clock()
        self._write_at = now + WRITE_EVERY
        if self._file is None:
            return
        known = self._known()
        names = known.endpoints or known.documents or known.intentions
        if not names or (known == self._written and now < self._refresh_at):
            return
        self._written, self._refresh_at = known, now + REFRESH
        try:
            self._file.write(self._dated(known), self._now())
        except (OSError, ControlError) as exc:
            if str(exc) != self._not_written:
                self._event("snapshot-not-written", self._agent, str(exc))
            self._not_written = str(exc)
        else:
            self._not_written = ""

    def _known(self) -> Kept:
        """What Consul has said; not what is held or recalled."""
        with self._lock:
            endpoints = {
                name: _snapshot_of(name, each.source.value)
                for name, each in self._endpoints.items()
                if isinstance(each.source.value, Bound | Neg) and not self._guards[name].holding
            }
            documents = {
                name: each.source.value
                for name, each in self._documents.items()
                if each.source.ready
            }
            return Kept(self._agent, {}, endpoints, documents, dict(self._intentions))

    def _dated(self, known: Kept) -> Kept:
        """With the times at which Consul confirmed it.

        Documents and intentions that came alone are as old as the last word about anything.
        """
        now = self._now()
        ages = {name: self._age(name) or 0.0 for name in known.endpoints}
        youngest = min(ages.values(), default=0.0)
        names = {*known.endpoints, *known.documents, *known.intentions}
        at = {name: now - ages.get(name, youngest) for name in names}
        return Kept(self._agent, at, known.endpoints, known.documents, known.intentions)


def _snapshot_of(name: str, said: Resolution) -> Snapshot:
    """A service that is gone is remembered as one of nobody."""
    return said.snapshot if isinstance(said, Bound) else Snapshot(name, ())
