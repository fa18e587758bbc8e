"""What is said of a peer that does not take the certificate of this process."""

from __future__ import annotations

import ssl

import pytest
from multidict import CIMultiDict

from meshlib.adapters.body import BytesBody
from meshlib.adapters.wire import interrupted, not_connected
from meshlib.model import Attempt, Call, Endpoint

HINT = "refused the certificate of this process"


@pytest.fixture
def attempt():
    """One that failed."""
    call = Call("shop", "GET", "/", "", CIMultiDict(), BytesBody(b""))
    made = Attempt(call)
    made.endpoint = Endpoint("shop-1", "127.0.0.1", 1)
    return made


def alert(reason):
    """As OpenSSL tells of it."""
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


@pytest.mark.parametrize("made", [interrupted, not_connected])
@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("SSLV3_ALERT_BAD_CERTIFICATE", True),
        ("SSLV3_ALERT_CERTIFICATE_UNKNOWN", True),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", True),
        ("TLSV1_ALERT_UNKNOWN_CA", True),
        ("TLSV1_ALERT_ACCESS_DENIED", True),
        ("TLSV1_ALERT_INTERNAL_ERROR", False),
        ("CERTIFICATE_VERIFY_FAILED", False),
        ("", False),
    ],
)
def test_alerts(attempt, made, reason, told):
    """Only the alerts about certificates, be they ever so deep among the causes."""
    error = OSError("outer")
    error.__cause__ = ConnectionError("inner")
    error.__cause__.__context__ = alert(reason)
    for each in error, alert(reason):
        assert told is (HINT in made(attempt, each).hint)
