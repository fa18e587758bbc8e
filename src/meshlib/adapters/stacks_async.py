"""The stacks of event loops: one a service and loop, ended with the loop."""

from __future__ import annotations

from meshlib.adapters.aside_async import Tasks
from meshlib.adapters.engine_async import AsyncEngine
from meshlib.adapters.heart import LoopHeart
from meshlib.adapters.loops import PerLoop
from meshlib.adapters.stacks import IDLE, Parts
from meshlib.runtime import AsyncRuntime, real_clock
from meshlib.stack.service import AttemptService, CallService


class _Loop:
    """What belongs to one event loop."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._engine = AsyncEngine(parts.trust, clock=real_clock, idle=IDLE)
        self._aside = Tasks()
        self._heart = LoopHeart(real_clock, parts.listener.process_stalled)
        self._services: dict[str, CallService] = {}

    def service(self, name: str) -> CallService:
        found = self._services.get(name)
        if found is None:
            found = self._services[name] = self.over(name, self._engine)
        return found

    def over(self, name: str, engine: AttemptService) -> CallService:
        runtime = AsyncRuntime(aside=self._aside)
        return self._parts.stack(name, engine, runtime, self._heart.meter)

    async def close(self) -> None:
        self._heart.stop()
        await self._aside.close()
        await self._engine.close()


class LoopStacks:
    """Made on first use in a loop, each loop with an engine of its own."""

    def __init__(self, parts: Parts) -> None:
        self._loops = PerLoop(lambda: _Loop(parts), _Loop.close)

    def __call__(self, service: str) -> CallService:
        """The stack to `service` of the running loop."""
        return self._loops.current().service(service)

    def over(self, service: str, engine: AttemptService) -> CallService:
        """A stack to `service` of the running loop, over an engine that somebody else closes."""
        return self._loops.current().over(service, engine)
