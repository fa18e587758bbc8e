"""One try: its time, its span, its verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from math import inf

from meshlib.config import UpstreamConfig
from meshlib.context import CREDIT, DEADLINE, EXPECTED, MIRRORED
from meshlib.errors import AttemptFailed, CallError
from meshlib.model import Attempt, Reply, Verdict
from meshlib.observe.events import Listener, Tracer
from meshlib.policy.adaptive import TAIL, Latencies, per_try
from meshlib.policy.classify import classify
from meshlib.policy.credit import read_credit
from meshlib.policy.penalty import penalty
from meshlib.policy.priority import mark
from meshlib.policy.stall import StallMeter, excuses
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
    latencies: Latencies = field(default_factory=Latencies)
    stalls: StallMeter = field(default_factory=StallMeter)

    def __call__(self, inner: AttemptService) -> AttemptService:
        """Wrap `inner`."""
        clock = self.runtime.clock

        async def one_attempt(attempt: Attempt) -> Reply:
            config, call = self.config.value, attempt.call
            began = clock()
            attempt.deadline = min(call.deadline, began + self._seconds(attempt, config, began))
            attempt.connect_timeout = min(config.connect.timeout, call.connect_timeout)
            span = self.tracer.attempt(attempt)
            span.inject(attempt.headers)
            mark(attempt.headers)
            credit = self._carry(attempt, began)
            try:
                reply = await inner(attempt)
            except BaseException as exc:
                if isinstance(exc, AttemptFailed) and not exc.sent and credit:
                    call.credit.take_back(credit)
                self._judge(attempt, exc, began)
                span.end(error=exc)
                raise
            if credit:
                unspent = read_credit(reply.headers.get(CREDIT)) or 0
                call.credit.take_back(min(unspent, credit))
            self._judge(attempt, reply, began)
            if not reply.closed:
                reply.on_close(partial(self._excuse, attempt, began))
            span.end(status=reply.status, headers=reply.headers)
            return reply

        return one_attempt

    def _seconds(self, attempt: Attempt, config: UpstreamConfig, now: float) -> float:
        """How long the attempt may take, by the settings."""
        retry, call = config.retry, attempt.call
        if not retry.adaptive_timeout or not (retry.non_idempotent or call.idempotent):
            return retry.per_try_timeout
        left = retry.attempts - attempt.number + 1 if call.body.replayable else 1
        tail = self.latencies.quantile(TAIL, now)
        return min(retry.per_try_timeout, per_try(tail, call.deadline - now, left))

    def _carry(self, attempt: Attempt, now: float) -> int:
        """Write what the server shall know of the request's tree; returns the credit."""
        call, headers = attempt.call, attempt.headers
        if call.context is not None and call.context.mirrored:
            headers[MIRRORED] = "1"
        if attempt.deadline != inf:
            left = str(max(int((attempt.deadline - now) * 1000), 0))
            headers[DEADLINE] = headers[EXPECTED] = left
        credit: int = 0 if call.credit is None else call.credit.hand_on()
        headers[CREDIT] = str(credit)
        return credit

    def _judge(self, attempt: Attempt, outcome: Reply | BaseException, began: float) -> None:
        """Our own stall is not the endpoint's latency, and no reason to blame it for silence."""
        now = self.runtime.clock()
        seconds = max(now - began - self.stalls.stalled(began, now), 0.0)
        attempt.verdict = classify(attempt.call, outcome)
        if isinstance(outcome, (Reply, CallError)):
            attempt.seconds, attempt.penalty = seconds, penalty(outcome)
        config = self.config.value
        if (config.hedge.enabled or config.retry.adaptive_timeout) and _telling(attempt, outcome):
            self.latencies.observe(seconds, now)
        if isinstance(outcome, AttemptFailed):
            self._excuse(attempt, began, outcome)
        if attempt.endpoint is not None:
            verdict = Verdict.IGNORED if attempt.excused else attempt.verdict
            self.listener.attempt_finished(attempt.call.service, attempt.endpoint, verdict, seconds)

    def _excuse(self, attempt: Attempt, began: float, error: BaseException | None) -> None:
        if isinstance(error, AttemptFailed) and error.timed_out:
            share = self.config.value.outlier.stall
            attempt.excused = excuses(self.stalls, began, self.runtime.clock(), share)


def _telling(attempt: Attempt, outcome: Reply | BaseException) -> bool:
    """Whether it says how long answers take: a fast failure does not, one that was cut short does.

    That one would have taken even longer; were it not counted, the limit could never grow.
    """
    late = isinstance(outcome, AttemptFailed) and outcome.sent and outcome.timed_out
    return late or attempt.verdict.succeeded
