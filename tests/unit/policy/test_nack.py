from __future__ import annotations

from math import inf

import pytest

from meshlib.model import Reply
from meshlib.policy.nack import asked_to_wait, refused_for_good, refused_untouched


@pytest.mark.parametrize(
    "headers",
    [
        {"x-mesh-retry": "no"},
        {"x-envoy-ratelimited": "true"},
        {"finagle-http-nonretryable-nack": ""},
    ],
)
def test_words_for_never(headers) -> None:
    """Ours, Envoy's and Finagle's."""
    assert refused_for_good(Reply(503, headers))
    assert not refused_for_good(Reply(503, {"x-mesh-retry": "safe"}))


@pytest.mark.parametrize("headers", [{"x-mesh-retry": "safe"}, {"finagle-http-nack": ""}])
def test_words_for_nothing_was_done(headers) -> None:
    """Ours and Finagle's."""
    assert refused_untouched(Reply(503, headers))
    assert not refused_untouched(Reply(503, {"x-mesh-retry": "no"}))


@pytest.mark.parametrize(
    ("pushback", "seconds"), [("1500", 1.5), ("0", 0.0), ("-1", inf), ("soon", inf), ("", inf)]
)
def test_grpc_pushback(pushback, seconds) -> None:
    """Milliseconds; negative or unreadable means never (gRPC proposal A6)."""
    assert seconds == asked_to_wait(Reply(503, {"grpc-retry-pushback-ms": pushback}))


def test_retry_after_otherwise() -> None:
    """Retry-After counts when there is no pushback; without either nothing is asked."""
    assert 2.0 == asked_to_wait(Reply(503, {"retry-after": "2"}))
    assert 0.0 == asked_to_wait(Reply(503))
    assert 0.0 == asked_to_wait(Reply(503, {"retry-after": "soon"}))
