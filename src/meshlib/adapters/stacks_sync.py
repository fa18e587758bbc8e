"""The stacks of synchronous callers: one a service, used from any thread."""

from __future__ import annotations

from meshlib.adapters.aside_sync import Threads
from meshlib.adapters.engine_sync import SyncEngine
from meshlib.adapters.heart import ThreadHeart
from meshlib.adapters.stacks import IDLE, Parts
from meshlib.runtime import SyncRuntime, real_clock
from meshlib.stack.service import AttemptService, CallService


class SyncStacks:
    """Made on first use, each with the same engine."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._engine = SyncEngine(parts.trust, clock=real_clock, idle=IDLE)
        self._aside = Threads()
        self._heart = ThreadHeart(real_clock, parts.listener.process_stalled)
        self._heart.start()
        self._services: dict[str, CallService] = {}

    def __call__(self, service: str) -> CallService:
        """The stack to `service`."""
        found = self._services.get(service)
        if found is not None:
            return found
        return self._services.setdefault(service, self.over(service, self._engine))

    def over(self, service: str, engine: AttemptService) -> CallService:
        """A stack to `service` over an engine that somebody else closes, and may have a `race`."""
        runtime = SyncRuntime(aside=self._aside, race=getattr(engine, "race", None))
        return self._parts.stack(service, engine, runtime, self._heart.meter)

    def close(self) -> None:
        """Let what is under way aside end, for two seconds; close every idle connection."""
        self._aside.close()
        self._heart.stop()
        self._engine.close()
