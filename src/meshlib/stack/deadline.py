"""Gives every call an absolute deadline."""

from __future__ import annotations

from dataclasses import dataclass

from meshlib.config import UpstreamConfig
from meshlib.context import current
from meshlib.errors import AttemptFailed, CallError, DeadlineExceeded
from meshlib.model import Call, Reply
from meshlib.runtime import Runtime
from meshlib.stack.service import CallService
from meshlib.watch import Watch


@dataclass(frozen=True, slots=True)
class Deadline:
    """Makes a deadline of the user's timeout or the policy's, and an error of its passing.

    A call made while a request is being served ends with that request's deadline at the latest: its
    caller does not wait any longer, so nobody would hear the answer.

    It bounds the call until its reply begins (a small body is part of that); a streamed body is
    bounded by the read timeout between two chunks, as a download may rightly take longer.
    """

    runtime: Runtime
    config: Watch[UpstreamConfig]

    def __call__(self, inner: CallService) -> CallService:
        """Wrap `inner`."""
        clock = self.runtime.clock

        async def deadline(call: Call) -> Reply:
            began = clock()
            context = call.context = current()
            call.deadline = min(call.deadline, began + self._seconds(call))
            if context is None:
                return await within(call, began)
            call.deadline = min(call.deadline, context.deadline)
            try:
                if call.deadline <= began:
                    raise _nobody_waits(call)
                return await within(call, began)
            except CallError:
                context.futile = True
                raise

        async def within(call: Call, began: float) -> Reply:
            try:
                return await inner(call)
            except AttemptFailed as exc:
                if clock() < call.deadline:
                    raise
                raise _exceeded(call, clock() - began, exc) from exc

        return deadline

    def _seconds(self, call: Call) -> float:
        """What the user said; else the policy, stretched to the silence the user would bear."""
        if call.timeout is not None:
            return call.timeout
        policy = self.config.value.timeout
        return max(policy, call.read_timeout) if call.read_timeout != float("inf") else policy


def _nobody_waits(call: Call) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"{call.method} http://{call.service}{call.path} was not sent",
        why="the deadline of the request being served has passed: its caller waits no longer",
        hint="look at what this service did before, or raise the timeout at the edge",
    )


def _exceeded(call: Call, elapsed: float, last: AttemptFailed) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"{call.method} http://{call.service}{call.path} got no answer within {elapsed:.3g} s",
        elapsed=elapsed,
        why=f"attempt {call.attempts} was the last there was time for: {last.what}",
        hint="raise the timeout, or look at the endpoint named above",
    )
