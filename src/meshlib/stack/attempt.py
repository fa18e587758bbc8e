"""One try: its time, its span, its verdict."""

from __future__ import annotations

from dataclasses import dataclass

from meshlib.config import UpstreamConfig
from meshlib.model import Attempt, Reply
from meshlib.observe.events import Listener, Tracer
from meshlib.policy.classify import classify
from meshlib.runtime import Runtime
from meshlib.stack.service import AttemptService
from meshlib.watch import Watch


@dataclass(frozen=True, slots=True)
class OneAttempt:
    """Sets the attempt's limits, gives it a span to hand on, and judges what came of it."""

    runtime: Runtime
    config: Watch[UpstreamConfig]
    tracer: Tracer
    listener: Listener

    def __call__(self, inner: AttemptService) -> AttemptService:
        """Wrap `inner`."""
        clock = self.runtime.clock

        async def one_attempt(attempt: Attempt) -> Reply:
            config, call = self.config.value, attempt.call
            began = clock()
            attempt.deadline = min(call.deadline, began + config.retry.per_try_timeout)
            attempt.connect_timeout = min(config.connect.timeout, call.connect_timeout)
            span = self.tracer.attempt(attempt)
            span.inject(attempt.headers)
            try:
                reply = await inner(attempt)
            except BaseException as exc:
                self._judge(attempt, exc, clock() - began)
                span.end(error=exc)
                raise
            self._judge(attempt, reply, clock() - began)
            span.end(status=reply.status)
            return reply

        return one_attempt

    def _judge(self, attempt: Attempt, outcome: Reply | BaseException, seconds: float) -> None:
        attempt.verdict = classify(attempt.call, outcome)
        if attempt.endpoint is not None:
            self.listener.attempt_finished(
                attempt.call.service, attempt.endpoint, attempt.verdict, seconds
            )
