"""
What the outcome of an attempt means, for HTTP.

    never sent: no connection, or not a trusted one    RETRYABLE
    broken or silent after it was sent                 RETRYABLE if idempotent, else FAILURE
    502, 503, 504                                      RETRYABLE if idempotent, else FAILURE
    any other 5xx                                      FAILURE
    any other status                                   SUCCESS
    cancelled, out of time, a bug on our side          IGNORED

Whatever happens on the wire is the endpoint's: also a peer that proves the wrong identity, as no
call can succeed there.  A status below 500 blames the caller, and says that the endpoint is well.
"""

from __future__ import annotations

from datetime import UTC, datetime

from meshlib.errors import AttemptFailed, DeadlineExceeded
from meshlib.model import Call, Reply, Verdict

_NOBODY_WORKED_ON_IT = frozenset({502, 503, 504})
"""A gateway's words for "it did not reach the application, or its answer did not reach me"."""


_SUCCESS = Verdict.SUCCESS
"""Looked up once: it is what nearly every attempt comes to."""


def classify(call: Call, outcome: Reply | BaseException) -> Verdict:
    """What `outcome` says about the endpoint, and whether `call` may be sent again."""
    if isinstance(outcome, Reply):
        return _of_status(call, outcome.status)
    if isinstance(outcome, DeadlineExceeded) and outcome.__cause__ is not None:
        outcome = outcome.__cause__
    if isinstance(outcome, AttemptFailed):
        return _failed(safe=call.idempotent or not outcome.sent)
    return Verdict.IGNORED


def _of_status(call: Call, status: int) -> Verdict:
    if status < 500:
        return _SUCCESS
    return _failed(safe=call.idempotent and status in _NOBODY_WORKED_ON_IT)


def _failed(*, safe: bool) -> Verdict:
    return Verdict.RETRYABLE if safe else Verdict.FAILURE


def retry_after(reply: Reply) -> float | None:
    """Seconds the peer asks to be left alone (RFC 9110 section 10.2.3), or None.

    A date is measured against the reply's own Date header, so that neither side's wall clock has
    to be right.  What is neither a number of seconds nor a date to come is no request.
    """
    asked = reply.headers.get("retry-after", "").strip()
    if asked.isascii() and asked.isdigit():
        return float(asked)
    then, now = _http_date(asked), _http_date(reply.headers.get("date", ""))
    if then is None or now is None or then < now:
        return None
    return (then - now).total_seconds()


def _http_date(text: str) -> datetime | None:
    """Any of the three forms of RFC 9110 section 5.6.7; all of them are in GMT."""
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - few replies have a date to read

    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
