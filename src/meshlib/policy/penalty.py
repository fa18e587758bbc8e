"""Whether an attempt's outcome makes its endpoint look slow, however fast it came."""

from __future__ import annotations

from meshlib.errors import AttemptFailed
from meshlib.model import Reply
from meshlib.policy.nack import asked_to_wait


def penalty(outcome: Reply | BaseException) -> float | None:
    """None for an answer; else for how many seconds the endpoint asks to be left alone, or 0.

    429 and 5xx are Linkerd's `penalize-failures`; a connection refused is as fast and as empty.
    """
    if isinstance(outcome, Reply):
        refused = outcome.status == 429 or outcome.status >= 500
        return asked_to_wait(outcome) if refused else None
    return 0.0 if isinstance(outcome, AttemptFailed) else None
