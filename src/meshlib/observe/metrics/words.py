"""Outcomes in a few words, for labels."""

from __future__ import annotations

from meshlib.errors import (
    AttemptFailed,
    DeadlineExceeded,
    Denied,
    NoEndpoint,
    NoRoute,
    Rejected,
)

_CLASSES = ("", "1xx", "2xx", "3xx", "4xx", "5xx")

_ERRORS = (
    (DeadlineExceeded, "deadline"),
    (Denied, "denied"),
    (NoEndpoint, "no-endpoint"),
    (NoRoute, "no-route"),
    (Rejected, "rejected"),
    (AttemptFailed, "failed"),
    (Exception, "error"),
    (BaseException, "cancelled"),
)
"""The words of `FallbackConfig.on`, and two for what is no error of ours."""


def of_status(status: int) -> str:
    """`2xx` and so on; `other` for what is no status of HTTP."""
    return _CLASSES[status // 100] if 100 <= status < 600 else "other"


def of_error(error: BaseException) -> str:
    """What kind of error it is; `cancelled` when the caller went away."""
    return next(word for kind, word in _ERRORS if isinstance(error, kind))
