"""Turns a call into attempts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from meshlib.config import RetryConfig, UpstreamConfig
from meshlib.context import RequestContext
from meshlib.errors import AttemptFailed
from meshlib.model import Attempt, Call, Reply
from meshlib.observe.events import Listener
from meshlib.policy.backoff import Backoff
from meshlib.policy.budget import RetryBudget
from meshlib.policy.compiled import Compiled
from meshlib.policy.conditions import Conditions
from meshlib.policy.credit import Credit
from meshlib.policy.nack import asked_to_wait, refused_for_good, refused_untouched
from meshlib.runtime import Runtime
from meshlib.stack.service import AttemptService, CallService
from meshlib.watch import Watch


class Obstacle(NamedTuple):
    """What speaks against another attempt."""

    by: str
    """One word, for metrics."""
    text: str
    """A clause, for people."""


_ADVISED = Obstacle("peer", "the peer asks not to be tried again")
_BODY = Obstacle("body", "its body cannot be sent again")
_PUSHBACK = Obstacle("pushback", "the peer asks to be left alone for too long")
_TIME = Obstacle("deadline", "there is no time left")
_CROWD = Obstacle("bulkhead", "too many calls of this process are being tried again")
_CREDIT = Obstacle("credit", "the request's retry credit is spent")
_BUDGET = Obstacle("budget", "the service's retry budget is spent")


@dataclass(frozen=True, slots=True)
class Retry:
    """Tries again what the settings say, while everything that bounds it allows.

    The bounds: attempts, a body that can be sent again, the deadline, the credit that the whole
    tree of calls shares, and the budget that all calls to the service share.  The replacement of an
    attempt that was never sent costs no credit, for no server has seen one more request.
    """

    runtime: Runtime
    config: Watch[UpstreamConfig]
    backoff: Watch[Backoff]
    budget: Watch[RetryBudget]
    listener: Listener

    def __call__(self, inner: AttemptService) -> CallService:
        """Wrap `inner`."""
        compiled = Compiled(Conditions)

        async def retry(call: Call) -> Reply:
            conditions = _of_route(call) or compiled(self.config.value.retry)
            call.credit = _credit(call.context, conditions.config.credit)
            self.budget.value.deposit()
            while True:
                call.attempts += 1
                elsewhere = conditions.config.other_locality and bool(call.tried)
                attempt = Attempt(call, call.attempts, elsewhere)
                try:
                    reply = await inner(attempt)
                except AttemptFailed as exc:
                    if not conditions.of_error(call, exc):
                        raise
                    delay = self._delay(attempt, conditions, None, free=not exc.sent)
                    if delay is None:
                        raise
                    why = _why_failed(exc)
                else:
                    if refused_for_good(reply):
                        _give_up(call, _ADVISED)
                        return reply
                    if not conditions.of_reply(call, reply):
                        return reply
                    delay = self._delay(attempt, conditions, reply, free=False)
                    if delay is None:
                        return reply
                    why = _why_unwanted(reply)
                    await reply.discard()
                self.listener.call_retried(call, why)
                await self.runtime.sleep(delay)

        return retry

    def _delay(
        self, attempt: Attempt, conditions: Conditions, reply: Reply | None, *, free: bool
    ) -> float | None:
        """Seconds until the next attempt, or None if there shall be none."""
        call, config = attempt.call, conditions.config
        wished = asked_to_wait(reply) if reply is not None else 0.0
        delay = max(wished, self.backoff.value.delay(attempt.number, self.runtime.rng))
        obstacle = self._obstacle(call, config, wished, delay) or self._unpaid(call, free=free)
        if obstacle:
            _give_up(call, obstacle)
        return None if obstacle else delay

    def _obstacle(
        self, call: Call, config: RetryConfig, wished: float, delay: float
    ) -> Obstacle | None:
        if call.attempts >= config.attempts:
            return Obstacle("attempts", f"all {config.attempts} attempts are made")
        if not call.body.replayable:
            return _BODY
        if wished > config.max_retry_after:
            return _PUSHBACK
        if self.runtime.clock() + delay >= call.deadline:
            return _TIME
        return None

    def _unpaid(self, call: Call, *, free: bool) -> Obstacle | None:
        """Draw the attempt from credit and budget; last, as what is drawn in vain is lost."""
        credit: Credit = call.credit
        if call.held is not None and not call.held.try_retry():
            return _CROWD
        if not free and not credit.left:
            return _CREDIT
        if not self.budget.value.try_withdraw():
            return _BUDGET
        if not free and not credit.spend():
            return _CREDIT
        call.extra += not free
        return None


def _credit(context: RequestContext | None, amount: int) -> Credit:
    """That of the request being served; a call made for nobody is a tree of its own."""
    return Credit(amount) if context is None else context.credit_or(amount)


def _of_route(call: Call) -> Conditions | None:
    """What the call's route says of retries; None: as the service's policy says."""
    conditions: Conditions | None = None if call.rules is None else call.rules.conditions
    return conditions


def _why_failed(error: AttemptFailed) -> str:
    if not error.sent:
        return "connect-failure"
    return "timeout" if error.timed_out else "reset"


def _why_unwanted(reply: Reply) -> str:
    if refused_untouched(reply):
        return "nack"
    grpc = reply.headers.get("grpc-status") if reply.status == 200 else None
    return str(reply.status) if grpc is None else f"{reply.status} grpc {grpc}"


def _give_up(call: Call, obstacle: Obstacle) -> None:
    """Say why, and that there is no use in trying the same again further up the tree."""
    call.stopped_by, call.stopped = obstacle
    if call.context is not None:
        call.context.futile = True
