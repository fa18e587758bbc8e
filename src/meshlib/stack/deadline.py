"""Gives every call an absolute deadline."""

from __future__ import annotations

from dataclasses import dataclass

from meshlib.config import UpstreamConfig
from meshlib.errors import AttemptFailed, DeadlineExceeded
from meshlib.model import Call, Reply
from meshlib.runtime import Runtime
from meshlib.stack.service import CallService
from meshlib.watch import Watch


@dataclass(frozen=True, slots=True)
class Deadline:
    """Makes a deadline of the user's timeout or the policy's, and an error of its passing.

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
            call.deadline = min(call.deadline, began + self._seconds(call))
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


def _exceeded(call: Call, elapsed: float, last: AttemptFailed) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"{call.method} http://{call.service}{call.path} got no answer within {elapsed:.3g} s",
        elapsed=elapsed,
        why=f"attempt {call.attempts} was the last there was time for: {last.what}",
        hint="raise the timeout, or look at the endpoint named above",
    )
