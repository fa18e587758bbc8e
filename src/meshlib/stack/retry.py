"""Turns a call into attempts."""

from __future__ import annotations

from dataclasses import dataclass

from meshlib.config import UpstreamConfig
from meshlib.errors import AttemptFailed
from meshlib.model import Attempt, Call, Reply, Verdict
from meshlib.policy.backoff import Backoff
from meshlib.policy.budget import RetryBudget
from meshlib.policy.classify import retry_after
from meshlib.runtime import Runtime
from meshlib.stack.service import AttemptService, CallService
from meshlib.watch import Watch


@dataclass(frozen=True, slots=True)
class Retry:
    """Tries again what is known to be safe, while attempts, body, budget and deadline allow."""

    runtime: Runtime
    config: Watch[UpstreamConfig]
    backoff: Watch[Backoff]
    budget: Watch[RetryBudget]

    def __call__(self, inner: AttemptService) -> CallService:
        """Wrap `inner`."""

        async def retry(call: Call) -> Reply:
            self.budget.value.deposit()
            while True:
                call.attempts += 1
                attempt = Attempt(call, call.attempts)
                try:
                    reply = await inner(attempt)
                except AttemptFailed:
                    delay = self._delay(attempt, None)
                    if delay is None:
                        raise
                else:
                    delay = self._delay(attempt, reply)
                    if delay is None:
                        return reply
                    await reply.discard()
                await self.runtime.sleep(delay)

        return retry

    def _delay(self, attempt: Attempt, reply: Reply | None) -> float | None:
        """Seconds until the next attempt, or None if there shall be none.

        The budget is asked last: a withdrawal that is not used would be lost to others.
        """
        call = attempt.call
        if attempt.verdict is not Verdict.RETRYABLE:
            return None
        if attempt.number >= self.config.value.retry.attempts or not call.body.replayable:
            return None
        wished = retry_after(reply) or 0.0 if reply is not None else 0.0
        delay = max(wished, self.backoff.value.delay(attempt.number, self.runtime.rng))
        late = self.runtime.clock() + delay >= call.deadline
        if late or wished > self.config.value.retry.max_retry_after:
            return None
        return delay if self.budget.value.try_withdraw() else None
