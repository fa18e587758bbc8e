"""What the stack tells its listener on the way."""

from __future__ import annotations

from contextlib import suppress

import pytest

from meshlib.config import BudgetConfig, RetryConfig
from meshlib.errors import AttemptFailed, CallError, Interrupted
from meshlib.model import Call, Reply
from meshlib.observe.quiet import Quiet
from meshlib.policy.stall import INTERVAL, StallMeter
from meshlib.stack.client import client_stack
from meshlib.testing.script import Script, StreamedReply, refused, reset

NACK = {"x-mesh-retry": "safe"}
LATE = {"retry-after": "3600"}


class Ear(Quiet):
    """Writes down what it hears."""

    def __init__(self):
        self.retried, self.withheld, self.calls = [], [], []

    def call_retried(self, call, why):
        self.retried.append(why)

    def blame_withheld(self, service, endpoint, why):
        self.withheld.append((service, endpoint.id, why))

    def call_finished(self, call, outcome, seconds):
        self.calls.append(call)


@pytest.fixture
def ear(world):
    """The listener of the world."""
    world.listener = Ear()
    return world.listener


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        (refused(), "connect-failure"),
        (reset(), "reset"),
        (Interrupted("silent", timed_out=True), "timeout"),
        (503, "503"),
        (Reply(503, NACK), "nack"),
        (Reply(200, {"grpc-status": "14"}), "200 grpc 14"),
    ],
)
def test_why_a_call_is_retried(world, ear, outcome, why):
    """In a word, whatever the attempt came to."""
    world.configure(
        retry=RetryConfig(on=("connect-failure", "refused-stream", "reset", "5xx", "unavailable"))
    )
    assert 200 == world.call(Script(outcome, 200)).status
    assert [why] == ear.retried


def test_the_last_failure_is_not_retried(world, ear):
    """Three attempts are two retries."""
    world.call(Script(503, for_ever=True))
    assert ["503", "503"] == ear.retried


@pytest.mark.parametrize(
    ("by", "outcome", "settings"),
    [
        ("attempts", 503, {"attempts": 1}),
        ("pushback", Reply(503, LATE), {}),
        ("credit", 503, {"credit": 0}),
        ("budget", 503, {"budget": BudgetConfig(share=0, floor=0)}),
        ("peer", Reply(503, {"x-mesh-retry": "no"}), {}),
        ("", 200, {}),
    ],
)
def test_what_stopped_a_call(world, ear, by, outcome, settings):
    """One word beside the sentence."""
    world.configure(retry=RetryConfig(**settings))
    world.call(Script(outcome, for_ever=True))
    assert [by] == [call.stopped_by for call in ear.calls]
    assert bool(by) == bool(ear.calls[0].stopped)


def test_a_deadline_stops_a_call(world, ear):
    """There is no time for another attempt."""
    with suppress(CallError):
        world.call(Script(503, for_ever=True), timeout=1e-9)
    assert "deadline" == ear.calls[0].stopped_by


def test_only_what_is_drawn_from_the_credit_is_extra(world, ear):
    """An attempt that was never sent costs no server anything, and its replacement neither."""
    world.configure(retry=RetryConfig(attempts=4))
    world.call(Script(refused(), 503, 200))
    assert (3, 1) == (ear.calls[0].attempts, ear.calls[0].extra)


def test_a_poison_request_is_told(world, ear):
    """From the second endpoint on, the request is to blame."""
    world.configure(balancer="round_robin", retry=RetryConfig(attempts=1))
    world.upstream.configure(world.destination.config.value)
    for _ in range(3):
        world.call(Script(500), path="/bad")
    assert ["poison", "poison"] == [why for _, _, why in ear.withheld]


def test_a_stall_is_told(world, ear):
    """Also when the reply's body breaks off later."""
    meter = StallMeter()
    meter.beat(world.clock.now)
    reply = StreamedReply(200)
    stack = client_stack(
        world.destination,
        Script(reply),
        runtime=world.runtime,
        tracer=world.tracer,
        listener=ear,
        stalls=meter,
    )
    world.drive(stack(Call("shop")))
    world.clock.advance(INTERVAL + 3.0)
    reply.close(Interrupted("silent", timed_out=True))
    assert [("shop", "stall")] == [(service, why) for service, _, why in ear.withheld]


def test_a_call_that_went_well_is_no_event(world, ear):
    """Nothing but its end."""
    with suppress(AttemptFailed):
        world.call(Script(200))
    assert ([], [], 1) == (ear.retried, ear.withheld, len(ear.calls))
