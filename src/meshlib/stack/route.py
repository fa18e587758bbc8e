"""Chooses what a call goes to, and does to it what its route says."""

from __future__ import annotations

from dataclasses import dataclass

from meshlib.errors import NoRoute
from meshlib.model import Call, Reply
from meshlib.route.headers import HeaderChanges
from meshlib.route.rules import NO_RULES, Rules
from meshlib.route.split import Leg
from meshlib.route.table import RouteTable
from meshlib.runtime import Runtime
from meshlib.stack.service import CallService
from meshlib.watch import Watch


@dataclass(frozen=True, slots=True)
class Route:
    """Asks the route table once a call; waits for the first table no longer than the deadline.

    The request the user holds stays as it is: what goes on the wire instead stands in fields of the
    call, made once, so that every attempt sends the same.
    """

    runtime: Runtime
    table: Watch[RouteTable]

    def __call__(self, inner: CallService) -> CallService:
        """Wrap `inner`."""
        table, rng = self.table, self.runtime.rng

        async def route(call: Call) -> Reply:
            if not table.ready:
                await self._first_table(call)
            chosen = table.value.match(call)
            leg = chosen.split.choose(call, rng)
            call.target, call.route = leg.target, chosen.name
            rules = call.rules = chosen.rules
            if rules is None and not (leg.request or leg.response):
                return await inner(call)
            rules = rules or NO_RULES
            if rules.answer is not None:
                return _changed(rules.answer(call), rules.response)
            self._bound(call, rules)
            _prepare(call, rules, leg)
            return _changed(await inner(call), leg.response, rules.response)

        return route

    def _bound(self, call: Call, rules: Rules) -> None:
        """The route's time instead of the policy's, never more than our own caller will wait.

        What the user said of this very call is stronger than both.
        """
        call.silence = rules.silence
        if rules.timeout is not None and call.timeout is None:
            mine = self.runtime.clock() + rules.timeout
            call.deadline = mine if call.context is None else min(mine, call.context.deadline)

    async def _first_table(self, call: Call) -> None:
        if not await self.runtime.wait(self.table, call.deadline - self.runtime.clock()):
            raise NoRoute(
                f"nobody has said yet where {call.service!r} is",
                why="the control plane has not answered since this process started",
                hint="see `meshlib services`, and the log of meshlib.control",
            )


def _prepare(call: Call, rules: Rules, leg: Leg) -> None:
    """What goes on the wire.  The leg's changes come first, as with Envoy's weighted clusters."""
    if rules.rewrite is not None:
        call.sent_path = rules.rewrite(call.path)
    headers = call.headers
    for changes in (leg.request, rules.request, rules.authority):
        if changes:
            headers = call.sent_headers = changes.applied(headers)


def _changed(reply: Reply, *all_changes: HeaderChanges) -> Reply:
    """The reply is made for this call alone, so it is changed where it stands."""
    for changes in all_changes:
        if changes:
            reply.headers = changes.applied(reply.headers)
            reply.raw_headers = changes.applied_raw(reply.raw_headers)
    return reply
