"""Makes trouble where a document asks for it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from meshlib.config.routes import FaultConfig
from meshlib.errors import DeadlineExceeded
from meshlib.model import Call, Reply
from meshlib.route.answer import made
from meshlib.runtime import Rng, Runtime
from meshlib.stack.service import CallService

MARK = "x-mesh-fault"
"""On an injected reply, so that nobody looks for its cause elsewhere."""

DELAY_HEADER = "x-mesh-fault-delay"
"""Milliseconds, as in Envoy's x-envoy-fault-delay-request."""
ABORT_HEADER = "x-mesh-fault-abort"
"""A status, as in Envoy's x-envoy-fault-abort-request."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What one call is to suffer."""

    delay: float = 0.0
    """Seconds."""
    abort: int = 0
    """Status; 0: none."""

    def __bool__(self) -> bool:
        return bool(self.delay or self.abort)


def draw(fault: FaultConfig, call: Call, rng: Rng) -> Trouble:
    """Decide for one call.  A header that is no number, or out of range, asks for nothing."""
    delay, abort = fault.delay, fault.abort
    if fault.from_headers:
        delay = _number(call, DELAY_HEADER, 0, 3_600_000, round(delay * 1000)) / 1000
        abort = _number(call, ABORT_HEADER, 200, 599, abort)
    return Trouble(
        delay if delay and rng.random() * 100 < fault.delay_percent else 0.0,
        abort if abort and rng.random() * 100 < fault.abort_percent else 0,
    )


def _number(call: Call, header: str, least: int, most: int, otherwise: int) -> int:
    text = call.headers.get(header, "")
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        return otherwise
    return int(text) if least <= int(text) <= most else otherwise


class _Active:
    """How many calls suffer now."""

    __slots__ = ("_count", "_lock")

    def __init__(self) -> None:
        self._count, self._lock = 0, threading.Lock()

    def enter(self, most: int) -> bool:
        with self._lock:
            entered = self._count < most
            self._count += entered
            return entered

    def leave(self) -> None:
        with self._lock:
            self._count -= 1


@dataclass(frozen=True, slots=True)
class Fault:
    """Delays a call, answers it with an error, or both, in that order."""

    runtime: Runtime
    _active: _Active = field(default_factory=_Active)

    def __call__(self, inner: CallService) -> CallService:
        """Wrap `inner`."""
        rng = self.runtime.rng

        async def fault(call: Call) -> Reply:
            rules = call.rules
            if rules is None or rules.fault is None:
                return await inner(call)
            trouble = draw(rules.fault, call, rng)
            if not trouble or not self._active.enter(rules.fault.max_active):
                return await inner(call)
            try:
                await self._suffer(call, trouble.delay)
            finally:
                self._active.leave()
            if trouble.abort:
                return made(call, trouble.abort, {MARK: "abort"}, "injected by a fault rule")
            return await inner(call)

        return fault

    async def _suffer(self, call: Call, delay: float) -> None:
        clock = self.runtime.clock
        began = clock()
        if delay:
            await self.runtime.sleep(max(min(delay, call.deadline - began), 0.0))
        if clock() >= call.deadline:
            raise DeadlineExceeded(
                f"{call.method} http://{call.service}{call.path} was held up by a fault rule",
                elapsed=clock() - began,
                why=f"an injected delay of {delay:g} s took all the time there was",
                hint="see `Fault` in the service's traffic-policy",
            )
