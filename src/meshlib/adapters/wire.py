"""What both engines say when the wire fails, and how much of a reply they read ahead."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias

from meshlib.errors import AttemptFailed, ConnectFailed, Interrupted, PeerNotTrusted
from meshlib.model import Target
from meshlib.trust.handshake import OwnLeafNotValid

if TYPE_CHECKING:
    from meshlib.model import Attempt, Call, Endpoint

Trust: TypeAlias = Callable[[Target], tuple[ssl.SSLContext, int]]
"""Of a target: the context that accepts its service only, and the present generation of trust.

Targets with the same context may share connections, and others may not.
"""

READ_AHEAD = 64 * 1024
"""Bytes.  A reply not longer than this is read within its attempt, so that one cut off half way is
retried like one that never came."""

NOT_YET_VALID = 9
"""OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID."""

_REFUSALS = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")
"""In OpenSSL's names of the alerts (RFC 8446, 6.2) by which a peer refuses a certificate."""
_REFUSED = (
    "the peer refused the certificate of this process: an intention may deny this, "
    "or the peer trusts another CA"
)

_WITHOUT_BODY = frozenset({204, 304})


def reads_ahead(method: str, status: int, headers: Mapping[str, str]) -> bool:
    """Whether the reply's body is known to be small, or not to exist."""
    if method == "HEAD" or status in _WITHOUT_BODY:
        return True
    length = headers.get("Content-Length", "")
    return length.isdigit() and int(length) <= READ_AHEAD


def failure_of_body(call: Call) -> BaseException | None:
    """What the user's own request stream raised, if it is what broke the attempt."""
    return getattr(call.body, "failure", None)


def endpoint_of(attempt: Attempt) -> Endpoint:
    """The endpoint the balance layer chose."""
    if attempt.endpoint is None:
        message = "an engine was asked to send an attempt without an endpoint"
        raise RuntimeError(message)
    return attempt.endpoint


def target_of(attempt: Attempt) -> Target:
    """What the peer must be an instance of."""
    return attempt.target or attempt.call.target or Target(attempt.call.service)


def not_connected(attempt: Attempt, cause: BaseException) -> AttemptFailed:
    """No connection came about, or it led to somebody else."""
    endpoint = endpoint_of(attempt)
    own = _own_fault(cause)
    if own is not None:
        why = str(own.args[-1])
        return ConnectFailed(
            f"no connection to {endpoint}", endpoint=endpoint, why=why, hint=own.hint
        )
    rejection = _rejection(cause)
    if rejection is not None:
        return PeerNotTrusted(
            f"{endpoint} is not {target_of(attempt).service}",
            endpoint=endpoint,
            why=str(rejection.args[-1] if rejection.args else rejection),
            hint=_hint(rejection),
        )
    timed_out = isinstance(cause, TimeoutError)
    return ConnectFailed(
        f"no connection to {endpoint}",
        endpoint=endpoint,
        timed_out=timed_out,
        why=_words(cause, f"not connected within {attempt.connect_timeout:g} s"),
        hint=_REFUSED if _refuses_us(cause) else "",
    )


def interrupted(attempt: Attempt, cause: BaseException) -> Interrupted:
    """The connection broke or fell silent after the request began to be sent."""
    endpoint = endpoint_of(attempt)
    timed_out = isinstance(cause, TimeoutError)
    return Interrupted(
        f"{endpoint} {'fell silent' if timed_out else 'broke off'}",
        endpoint=endpoint,
        timed_out=timed_out,
        why=_words(cause, "no byte came within the time allowed"),
        hint=_REFUSED if _refuses_us(cause) else "",
    )


def _hint(rejection: ssl.SSLCertVerificationError) -> str:
    if getattr(rejection, "verify_code", 0) == NOT_YET_VALID:
        now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        return f"clock skew: here it is {now}; compare with the machine that issues certificates"
    return "compare its certificate with the trust bundle: is it of this mesh?"


def _words(cause: BaseException, when_timed_out: str) -> str:
    if isinstance(cause, TimeoutError):
        return when_timed_out
    return str(cause) or type(cause).__name__


def _rejection(cause: BaseException) -> ssl.SSLCertVerificationError | None:
    """The failed check of the peer's certificate among the causes, if that is what it was."""
    found = (each for each in _causes(cause) if isinstance(each, ssl.SSLCertVerificationError))
    return next(found, None)


def _own_fault(cause: BaseException) -> OwnLeafNotValid | None:
    """That this process has no certificate to show, if that is what it was."""
    return next((each for each in _causes(cause) if isinstance(each, OwnLeafNotValid)), None)


def _refuses_us(cause: BaseException) -> bool:
    """Whether the peer did not take our certificate: with TLS 1.3 it says so after the request."""
    alerts = (getattr(each, "reason", "") or "" for each in _causes(cause))
    return any("ALERT" in each and any(word in each for word in _REFUSALS) for each in alerts)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        yield cause
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
