from __future__ import annotations

import pytest

from meshlib.config import RetryConfig
from meshlib.config.retry import CONDITIONS
from meshlib.errors import ConfigError, ConnectFailed, DeadlineExceeded, Interrupted, NoEndpoint
from meshlib.model import Call, Reply, Verdict
from meshlib.policy.classify import classify
from meshlib.policy.conditions import Conditions

GET, POST = Call("b"), Call("b", method="POST")
KEYED = Call("b", method="POST", headers={"idempotency-key": "1"})


def on(*names, **more):
    return Conditions(RetryConfig(on=names, **more))


def statuses(conditions, call=GET):
    """Every status that is followed by another attempt."""
    return [code for code in range(200, 600) if conditions.of_reply(call, Reply(code))]


@pytest.mark.parametrize(
    ("name", "retried"),
    [
        ("gateway-error", [502, 503, 504]),
        ("5xx", list(range(500, 600))),
        ("retriable-4xx", [409]),
        ("rate-limited", [429]),
        ("reset", []),
        ("connect-failure", []),
        ("unavailable", []),
    ],
)
def test_statuses_of_a_condition(name, retried) -> None:
    """A condition repeats exactly its statuses, of requests that may be repeated."""
    assert retried == statuses(on(name))
    assert [] == statuses(on(name), POST)
    assert retried == statuses(on(name), KEYED)
    assert retried == statuses(on(name, non_idempotent=True), POST)


def test_further_statuses() -> None:
    """One by one, and as ranges with both ends."""
    assert [418, 520, 521, 522] == statuses(on(statuses=(418, "520-522")))
    assert [418] == statuses(on(statuses=("418",)))


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("cancelled", 1),
        ("deadline-exceeded", 4),
        ("resource-exhausted", 8),
        ("internal", 13),
        ("unavailable", 14),
    ],
)
def test_grpc_codes(name, code) -> None:
    """A gRPC code in the head of a 200."""
    codes = [n for n in range(17) if on(name).of_reply(GET, Reply(200, {"grpc-status": str(n)}))]
    assert [code] == codes
    assert not on(name).of_reply(POST, Reply(200, {"grpc-status": str(code)}))


def test_errors() -> None:
    """What was never sent is safe whatever the method; what broke needs an idempotent one."""
    unsent, broken = ConnectFailed("no"), Interrupted("broken")
    assert on("connect-failure").of_error(POST, unsent)
    assert not on("reset").of_error(POST, unsent)
    assert on("reset").of_error(GET, broken)
    assert not on("reset").of_error(POST, broken)
    assert on("reset", non_idempotent=True).of_error(POST, broken)
    assert not on("connect-failure").of_error(GET, broken)
    assert not on(*CONDITIONS).of_error(GET, NoEndpoint("none"))
    assert not on(*CONDITIONS).of_error(GET, ValueError())
    late = DeadlineExceeded("late")
    late.__cause__ = broken
    assert on("reset").of_error(GET, late)


def test_a_peer_that_did_nothing() -> None:
    """A POST may go elsewhere if the peer says that it did not touch it."""
    untouched = Reply(503, {"x-mesh-retry": "safe"})
    assert on("refused-stream").of_reply(POST, untouched)
    assert not on("5xx").of_reply(POST, untouched)


def test_only_some_methods() -> None:
    """`methods` narrows what may be repeated; what was never sent is nobody's repetition."""
    gets = on("5xx", "reset", "connect-failure", methods=("GET",))
    assert statuses(gets)
    assert [] == statuses(gets, Call("b", method="PUT"))
    assert gets.of_error(Call("b", method="PUT"), ConnectFailed("no"))
    assert not gets.of_error(Call("b", method="PUT"), Interrupted("broken"))


@pytest.mark.parametrize("call", [GET, POST, KEYED, Call("b", method="DELETE")])
@pytest.mark.parametrize(
    "outcome",
    [
        ConnectFailed("no"),
        Interrupted("x"),
        ValueError(),
        *map(Reply, (200, 404, 409, 429, 499, 500, 501, 502, 503, 504, 505, 599)),
    ],
    ids=lambda value: str(getattr(value, "status", type(value).__name__)),
)
def test_the_defaults_repeat_what_the_verdict_calls_safe(call, outcome) -> None:
    """Out of the box the two questions have one answer."""
    conditions = Conditions(RetryConfig())
    if isinstance(outcome, Reply):
        repeated = conditions.of_reply(call, outcome)
    else:
        repeated = conditions.of_error(call, outcome)
    assert (classify(call, outcome) is Verdict.RETRYABLE) == repeated


@pytest.mark.parametrize(
    ("path", "settings"),
    [
        ("on[1]", {"on": ("5xx", "sometimes")}),
        ("methods[0]", {"methods": ("POST",)}),
        ("methods[1]", {"methods": ("GET", "put")}),
        ("statuses[0]", {"statuses": (200,)}),
        ("statuses[0]", {"statuses": (99,)}),
        ("statuses[1]", {"statuses": (409, "504-500")}),
        ("statuses[0]", {"statuses": ("500-",)}),
        ("statuses[0]", {"statuses": ("600",)}),
        ("credit", {"credit": -1}),
        ("credit", {"credit": 101}),
    ],
)
def test_bad_settings(path, settings) -> None:
    """Refused when they are read, with the place of the bad value."""
    with pytest.raises(ConfigError) as refused:
        RetryConfig(**settings)
    assert path == refused.value.path


def test_consent_lifts_the_ban_on_post() -> None:
    """With consent a POST may be named, and is repeated."""
    config = RetryConfig(methods=("POST",), non_idempotent=True)
    assert Conditions(config).of_reply(POST, Reply(503))
