"""Chooses what a call goes to."""

from __future__ import annotations

from dataclasses import dataclass

from meshlib.errors import NoRoute
from meshlib.model import Call, Reply
from meshlib.route.table import RouteTable
from meshlib.runtime import Runtime
from meshlib.stack.service import CallService
from meshlib.watch import Watch


@dataclass(frozen=True, slots=True)
class Route:
    """Asks the route table once a call; waits for the first table no longer than the deadline."""

    runtime: Runtime
    table: Watch[RouteTable]

    def __call__(self, inner: CallService) -> CallService:
        """Wrap `inner`."""
        table, rng = self.table, self.runtime.rng

        async def route(call: Call) -> Reply:
            if not table.ready:
                await self._first_table(call)
            call.target = table.value.choose(call, rng)
            return await inner(call)

        return route

    async def _first_table(self, call: Call) -> None:
        if not await self.runtime.wait(self.table, call.deadline - self.runtime.clock()):
            raise NoRoute(
                f"nobody has said yet where {call.service!r} is",
                why="the control plane has not answered since this process started",
                hint="see `meshlib services`, and the log of meshlib.control",
            )
