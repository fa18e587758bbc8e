"""Holds calls and attempts within what this process may take of a service."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from meshlib.errors import Rejected
from meshlib.model import Attempt, Call, Reply
from meshlib.policy.bulkhead import Bulkhead, Place
from meshlib.policy.concurrency import ConcurrencyLimit
from meshlib.policy.guards import Guards
from meshlib.policy.limiter import OverLimit
from meshlib.runtime import Runtime
from meshlib.stack.service import AttemptService, CallService


@dataclass(frozen=True, slots=True)
class Limit:
    """Counts a call until its reply has ended; refuses what is too much, and never waits."""

    runtime: Runtime
    guards: Guards

    def __call__(self, inner: CallService) -> CallService:
        """Wrap `inner`."""
        clock, guards = self.runtime.clock, self.guards

        async def limited(call: Call) -> Reply:
            held = call.held = Held(guards, call)
            began = clock()
            try:
                reply = await inner(call)
            except BaseException:
                held.leave()
                raise
            if held.concurrency is not None and reply.status < 500:
                held.concurrency.observe(clock() - began)
            if reply.closed:
                held.leave()
            else:
                reply.on_close(lambda _: held.leave())
            return reply

        def limit(call: Call) -> Coroutine[Any, Any, Reply]:
            return limited(call) if guards.limiting else inner(call)

        return limit


class Held:
    """What one call takes of the limits, until `leave`.  Raises Rejected, and then holds nothing.

    The parts are those of the moment it was made: a limit that is switched on or off meanwhile
    finds its counts right.
    """

    __slots__ = ("_bulkhead", "_retrying", "concurrency")

    def __init__(self, guards: Guards, call: Call) -> None:
        bulkhead, concurrency, rate = guards.bulkhead, guards.concurrency, guards.rate
        if bulkhead is not None and not bulkhead.try_request():
            raise _refused(call, "concurrency", f"{bulkhead.requests} calls are under way")
        self._bulkhead, self._retrying = bulkhead, False
        self.concurrency: ConcurrencyLimit | None = None
        if concurrency is not None and not concurrency.try_acquire():
            self.leave()
            raise _refused(call, "concurrency", f"the limit is {concurrency.limit} at a time")
        self.concurrency = concurrency
        # asked last, for what it counts cannot be given back
        over = rate.take() if rate is not None else None
        if over is not None:
            self.leave()
            raise _over(call, over)

    def try_retry(self) -> bool:
        """Whether the call may be tried again, as far as the bulkhead is concerned."""
        if self._bulkhead is not None and not self._retrying:
            self._retrying = self._bulkhead.try_retry()
            return self._retrying
        return True

    def leave(self) -> None:
        """Give everything back; once."""
        if self._bulkhead is not None:
            self._bulkhead.end_request()
            if self._retrying:
                self._bulkhead.end_retry()
        if self.concurrency is not None:
            self.concurrency.release()


@dataclass(frozen=True, slots=True)
class OnTheWire:
    """Gives an attempt a place on the wire, which it keeps until its reply has ended.

    Waits for one in the order of asking, and no longer than the call's deadline.
    """

    runtime: Runtime
    guards: Guards

    def __call__(self, inner: AttemptService) -> AttemptService:
        """Wrap `inner`."""
        runtime, guards = self.runtime, self.guards

        async def placed(attempt: Attempt, bulkhead: Bulkhead) -> Reply:
            place = bulkhead.enter()
            if place is None:
                why = f"{bulkhead.pending} are waiting for a connection already"
                raise _refused(attempt.call, "concurrency", why)
            try:
                if not place.ready:
                    await runtime.wait(place, attempt.call.deadline - runtime.clock())
                    _check(place, attempt.call)
                reply = await inner(attempt)
            except BaseException:
                bulkhead.leave(place)
                raise
            if reply.closed:
                bulkhead.leave(place)
            else:
                reply.on_close(lambda _: bulkhead.leave(place))
            return reply

        def on_the_wire(attempt: Attempt) -> Coroutine[Any, Any, Reply]:
            bulkhead = guards.bulkhead
            return inner(attempt) if bulkhead is None else placed(attempt, bulkhead)

        return on_the_wire


def _check(place: Place, call: Call) -> None:
    if not place.ready:
        raise _refused(call, "concurrency", "no connection was free until the deadline")


def _over(call: Call, over: OverLimit) -> Rejected:
    quota = over.quota
    why = f"its quota is {quota.limit:g} in {quota.per:g} s; again in {over.wait:.3g} s"
    return _refused(call, "rate", why)


def _refused(call: Call, by: str, why: str) -> Rejected:
    return Rejected(
        f"{call.method} http://{call.service}{call.path} was not sent: too much at a time",
        by=by,
        why=why,
        hint=f"call {call.service!r} less, or raise the limits in its traffic-policy",
    )
