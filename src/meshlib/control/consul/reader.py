"""`Reader`: one thread that reads again what may have changed, the certain before the suspected."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf

from meshlib.control.consul.faults import ConsulFault
from meshlib.control.local.atfork import ForkLock
from meshlib.control.local.worker import Worker
from meshlib.runtime import Clock, real_clock

PACE = 0.05
"""Seconds between two reads on mere suspicion: a millisecond each is then 2 % of a core."""
IDLE = 60.0
"""Seconds between two looks when there is nothing to read; it is woken anyway."""

RANK = 80
"""Of the lock, which is held for dictionary operations only."""


class Reader:
    """Calls `read` with each wanted name.  What fails is tried again, with pauses."""

    def __init__(
        self, read: Callable[[str], None], *, name: str, clock: Clock = real_clock
    ) -> None:
        self._read, self._clock = read, clock
        self._certain: dict[str, None] = {}
        self._suspected: dict[str, None] = {}
        self._later: dict[str, float] = {}
        self._lock = ForkLock(RANK)
        self._worker = Worker(name, self.step, inherit=True)

    def want(self, names: Iterable[str], *, certain: bool = True) -> None:
        """Have them read soon; those that are only suspected when there is nothing else to do."""
        with self._lock:
            for name in names:
                if certain:
                    self._certain.setdefault(name)
                    self._suspected.pop(name, None)
                elif name not in self._certain:
                    self._suspected.setdefault(name)
        self._worker.start()
        self._worker.wake()

    def want_later(self, name: str, seconds: float) -> None:
        """Have it read when some time has passed."""
        with self._lock:
            self._later.setdefault(name, self._clock() + seconds)

    def step(self) -> float:
        """Read one; returns the seconds until the next step."""
        name, certain = self._next()
        if name is None:
            return self._until_due()
        try:
            self._read(name)
        except ConsulFault:
            self.want([name], certain=certain)
            raise
        return 0.0 if certain else PACE

    def stop(self) -> None:
        """End the thread."""
        self._worker.stop()

    def _next(self) -> tuple[str | None, bool]:
        now = self._clock()
        with self._lock:
            for name in [name for name, due in self._later.items() if due <= now]:
                del self._later[name]
                self._suspected.setdefault(name)
            for queue in (self._certain, self._suspected):
                for name in queue:
                    del queue[name]
                    return name, queue is self._certain
        return None, False

    def _until_due(self) -> float:
        with self._lock:
            due = min(self._later.values(), default=inf)
        return min(max(due - self._clock(), 0.0), IDLE)
