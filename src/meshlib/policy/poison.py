"""
Requests that fail wherever they go: they are to blame, not who serves them.

A request that makes its server fail, and is tried again elsewhere, would take one endpoint after
another out of the draw.  So failures are remembered by request for a while: when the same request
has failed in the same way at two endpoints and succeeded at none, the blame for the first failure
is taken back, and its further failures blame nobody.  A success anywhere ends that at once, and
for as long: then it is the endpoints that differ.

The same: same method, path, query and, when the body is held, same body.  Only requests that were
sent count; a connection that did not come about is nobody's request.  The memory is bounded:
beyond `SIZE` requests the one whose last failure is oldest is forgotten.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from math import inf
from typing import TypeAlias

from meshlib.model import Call
from meshlib.runtime import Clock

SIZE = 256
"""Requests remembered an upstream."""

HOSTS = 2
"""Endpoints at which a request must have failed: one proves nothing, as it may be that one's."""

COMPARED = 64 * 1024
"""Bytes of a body that are compared, besides its length."""

TakeBack: TypeAlias = Callable[[], None]
"""Undoes the blame for one failure."""


def fingerprint(call: Call) -> Hashable:
    """What makes two requests the same."""
    content = getattr(call.body, "content", None)
    body = (len(content), hash(content[:COMPARED])) if isinstance(content, bytes) else None
    return call.method, call.path, call.query, body


@dataclass(slots=True)
class _Case:
    """What is known of one request."""

    way: Hashable
    last: float
    blamed: dict[Hashable, TakeBack] = field(default_factory=dict)
    poison_since: float = inf
    succeeded: float = -inf


class PoisonLog:
    """Remembers for `seconds` which requests failed where.  Thread-safe.

    Empty (falsy) while nothing has failed: successes need not be told then.
    """

    def __init__(self, clock: Clock, seconds: float, size: int = SIZE) -> None:
        self._clock, self._seconds, self._size = clock, seconds, size
        self._cases: dict[Hashable, _Case] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._cases)

    def configure(self, seconds: float) -> None:
        """Remember for so long from now on; 0: blame no request."""
        self._seconds = seconds

    def failed(self, request: Hashable, way: Hashable, host: Hashable, take_back: TakeBack) -> bool:
        """Note that `request` failed in this `way` at `host`; whether the request is to blame.

        If it is not, `take_back` may be called later, on any thread, once at most.
        """
        with self._lock:
            case = self._case(request, way)
            pardoned = self._judge(case, host, take_back)
        for undo in pardoned:
            undo()
        return case.poison_since <= case.last

    def succeeded(self, request: Hashable) -> None:
        """Note that `request` has succeeded: it is not to blame, and was not."""
        with self._lock:
            case = self._cases.get(request)
            if case is not None:
                case.succeeded = self._clock()
                case.poison_since = inf
                case.blamed.clear()

    def _case(self, request: Hashable, way: Hashable) -> _Case:
        """What is known of it, as the newest of all; a new case if that is outdated."""
        now = self._clock()
        case = self._cases.pop(request, None)
        if case is None or self._outdated(case, way, now):
            case = _Case(way, now)
        case.last = now
        self._cases[request] = case
        if len(self._cases) > self._size:
            del self._cases[next(iter(self._cases))]
        return case

    def _outdated(self, case: _Case, way: Hashable, now: float) -> bool:
        if now - case.succeeded < self._seconds:
            return False
        since = case.last if case.poison_since == inf else case.poison_since
        return case.way != way or now - since >= self._seconds

    def _judge(self, case: _Case, host: Hashable, take_back: TakeBack) -> tuple[TakeBack, ...]:
        """Note where it failed; returns whose blame is taken back."""
        if case.last - case.succeeded < self._seconds or case.poison_since <= case.last:
            return ()
        case.blamed[host] = take_back
        if len(case.blamed) < HOSTS:
            return ()
        case.poison_since = case.last
        del case.blamed[host]  # the failure at hand has not been blamed on anybody yet
        pardoned = tuple(case.blamed.values())
        case.blamed.clear()
        return pardoned

    def __repr__(self) -> str:
        return f"<PoisonLog {len(self)} requests>"
