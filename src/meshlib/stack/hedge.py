"""Gives a slow attempt company, and takes whichever answers first."""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeAlias

from meshlib.config import BudgetConfig, UpstreamConfig
from meshlib.config.retry import HedgeConfig
from meshlib.model import Attempt, Reply
from meshlib.observe.events import Listener
from meshlib.policy.adaptive import Latencies
from meshlib.policy.budget import RetryBudget
from meshlib.policy.compiled import Compiled
from meshlib.runtime import Runtime
from meshlib.stack.service import AttemptService
from meshlib.watch import Watch

_log = logging.getLogger("meshlib.config")

Outcome: TypeAlias = tuple[Attempt, Reply | Exception]


@dataclass(frozen=True, slots=True)
class Hedge:
    """One more attempt, at another endpoint, when the first is slower than most were.

    Only the first attempt of a call is hedged, and only if the call is idempotent and its body all
    there.  A hedge is drawn from a small budget of its own, from the service's retry budget and
    from the request's credit; where there is none left, the first attempt goes on alone.  Whatever
    becomes of a hedge, the call ends no worse than without it: only an answer that is no failure
    wins, and when there is none the first attempt's outcome stands.
    """

    runtime: Runtime
    config: Watch[UpstreamConfig]
    budget: Watch[RetryBudget]
    latencies: Latencies
    listener: Listener

    def __call__(self, inner: AttemptService) -> AttemptService:
        """Wrap `inner`; where nothing can run side by side, `inner` itself."""
        if not self.runtime.concurrent:
            self.config.subscribe(self._say_that_it_is_off)
            return inner
        own_budget = Compiled(self._own_budget)

        async def hedge(attempt: Attempt) -> Reply:
            config = self.config.value.hedge
            if not config.enabled:
                return await inner(attempt)
            own = own_budget(config)
            own.deposit()
            seconds = self._seconds(attempt, config)
            if seconds is None:
                return await inner(attempt)

            def second() -> Coroutine[Any, Any, Outcome] | None:
                if not self._paid(attempt, own):
                    return None
                attempt.call.attempts += 1
                return _outcome(inner, Attempt(attempt.call, attempt.call.attempts))

            raced = await self.runtime.race(_outcome(inner, attempt), seconds, second, _answered)
            best, spare = _sorted(*raced)
            if attempt.call.attempts > attempt.number:
                won = raced[1] is not None and best is raced[1][1]
                self.listener.call_hedged(attempt.call, "won" if won else "lost")
            if isinstance(spare, Reply):
                await spare.discard()
            if isinstance(best, Exception):
                raise best
            return best

        return hedge

    def _seconds(self, attempt: Attempt, config: HedgeConfig) -> float | None:
        """How long the attempt is left alone; None: for good."""
        call = attempt.call
        if call.attempts > 1 or not call.idempotent or not call.body.whole:
            return None
        usual = self.latencies.quantile(config.quantile, self.runtime.clock())
        return None if usual is None else max(usual, config.least)

    def _paid(self, attempt: Attempt, own: RetryBudget) -> bool:
        credit = attempt.call.credit
        if own.balance < 1 or not credit.left or not self.budget.value.try_withdraw():
            return False
        if not credit.spend():
            return False
        attempt.call.extra += 1
        return own.try_withdraw()

    def _own_budget(self, config: HedgeConfig) -> RetryBudget:
        return RetryBudget(self.runtime.clock, BudgetConfig(share=config.share, floor=0.0))

    def _say_that_it_is_off(self) -> None:
        if self.config.value.hedge.enabled:
            _log.warning(
                "synchronous clients do not hedge: `hedge` is for asynchronous ones and gRPC"
            )


async def _outcome(inner: AttemptService, attempt: Attempt) -> Outcome:
    """What comes of an attempt, as a value: an error of one must not end the other."""
    try:
        return attempt, await inner(attempt)
    except Exception as exc:  # noqa: BLE001 - raised by `hedge`, if it is what the call comes to
        return attempt, exc


def _answered(outcome: Outcome) -> bool:
    attempt, what = outcome
    return isinstance(what, Reply) and not attempt.verdict.failed


def _sorted(
    first: Outcome | None, second: Outcome | None
) -> tuple[Reply | Exception, Reply | Exception | None]:
    """What the call comes to, and what is left over."""
    if first is None or (second is not None and not _answered(first) and _answered(second)):
        first, second = second, first
    assert first is not None  # noqa: S101 - a race in which nobody ends goes on
    return first[1], None if second is None else second[1]
