"""
Whom a failed attempt is blamed on: its endpoint, the request, or this process.

The attempt's verdict stays as it is, for it also says whether to try again.  What is decided here
is only what the endpoint hears.
"""

from __future__ import annotations

from meshlib.balance.picker import Pick
from meshlib.balance.upstream import Upstream
from meshlib.errors import AttemptFailed
from meshlib.model import Attempt, Reply, Verdict
from meshlib.observe.events import Listener
from meshlib.policy.poison import PoisonLog, fingerprint


def settle(
    upstream: Upstream,
    pick: Pick,
    attempt: Attempt,
    outcome: Reply | BaseException,
    listener: Listener,
) -> None:
    """Tell the endpoint how the attempt went, as far as that is about the endpoint."""
    verdict, poison = attempt.verdict, upstream.poison
    sent = not isinstance(outcome, AttemptFailed) or outcome.sent
    if verdict.succeeded and poison:
        poison.succeeded(fingerprint(attempt.call))
    excuse = ""
    if verdict.failed:
        poisoned = not attempt.excused and sent and _poisonous(poison, pick, attempt, outcome)
        excuse = "stall" if attempt.excused else "poison" if poisoned else ""
    if excuse:
        pick.done(Verdict.IGNORED)
        listener.blame_withheld(upstream.service, pick.endpoint, excuse)
    else:
        pick.done(verdict, attempt.seconds, attempt.penalty, connected=sent)


def _poisonous(
    poison: PoisonLog, pick: Pick, attempt: Attempt, outcome: Reply | BaseException
) -> bool:
    """Whether the request fails wherever it goes."""
    way = str(outcome.status) if isinstance(outcome, Reply) else type(outcome).__name__
    return poison.failed(fingerprint(attempt.call), way, pick.endpoint.address, pick.take_back)
