"""The circuit of one method."""

from __future__ import annotations

import random

import pytest

from meshlib.config import CircuitConfig
from meshlib.model import Call, Verdict
from meshlib.policy.circuit import Circuit, CircuitState, Silence
from meshlib.policy.circuits import MOST, OTHER, Circuits, method_of
from meshlib.testing.clock import FakeClock


class Heard(Silence):
    """Writes down the moves."""

    def __init__(self):
        self.moves, self.refused = [], 0

    def circuit_moved(self, name, before, after, counts):
        self.moves.append((before.value, after.value, counts))

    def circuit_refused(self, name):
        self.refused += 1


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
def circuit(clock, heard):
    return Circuit("shop GET", clock, random.Random(1), CircuitConfig(), heard)


def run(circuit, *verdicts, seconds=0.1):
    for verdict in verdicts:
        circuit.report(circuit.acquire(), verdict, seconds)


def test_it_opens_at_half_of_twenty(circuit, heard):
    """Nineteen calls say too little; the twentieth, with half of all failed, opens it."""
    run(circuit, *[Verdict.SUCCESS] * 10, *[Verdict.FAILURE] * 9)
    assert CircuitState.CLOSED is circuit.state
    run(circuit, Verdict.RETRYABLE)
    assert CircuitState.OPEN is circuit.state
    assert [("closed", "open", (20, 10, 0))] == heard.moves
    assert circuit.acquire() is None
    assert 1 == heard.refused


def test_old_failures_are_forgotten(circuit, clock):
    """What is further back than the window counts no more."""
    run(circuit, *[Verdict.FAILURE] * 19)
    clock.advance(10)
    run(circuit, *[Verdict.FAILURE] * 19)
    assert CircuitState.CLOSED is circuit.state


def test_slow_calls_open_it(clock):
    """Half of them slower than the threshold, although all succeed."""
    config = CircuitConfig(slow_after=1.0, slow=0.5)
    circuit = Circuit("shop GET", clock, random.Random(1), config)
    run(circuit, *[Verdict.SUCCESS] * 10)
    run(circuit, *[Verdict.SUCCESS] * 10, seconds=1.5)
    assert CircuitState.OPEN is circuit.state


def test_what_says_nothing_does_not_count(circuit):
    """Cancelled calls neither open it nor make up the number."""
    run(circuit, *[Verdict.FAILURE] * 10, *[Verdict.IGNORED] * 50)
    assert (10, 10, 0) == circuit.counts()
    assert CircuitState.CLOSED is circuit.state


def test_what_began_before_it_opened_does_not_count_afterwards(circuit, clock):
    """A success that was under way for long does not close it."""
    early = circuit.acquire()
    run(circuit, *[Verdict.FAILURE] * 20)
    clock.advance(8)
    assert circuit.acquire().lease
    circuit.report(early, Verdict.FAILURE, 9.0)
    assert CircuitState.HALF_OPEN is circuit.state


def test_the_way_back(circuit, clock, heard):
    """One probe, then three at a time, and three successes close it."""
    run(circuit, *[Verdict.FAILURE] * 20)
    clock.advance(8)
    run(circuit, Verdict.SUCCESS)
    assert CircuitState.HALF_OPEN is circuit.state
    run(circuit, Verdict.SUCCESS, Verdict.SUCCESS)
    assert ["open", "half_open", "closed"] == [after for _, after, _ in heard.moves]


def test_a_slow_probe_fails(clock):
    """It answers, but as slowly as what opened the circuit."""
    config = CircuitConfig(calls=1, slow_after=1.0, slow=0.5)
    circuit = Circuit("shop GET", clock, random.Random(1), config)
    run(circuit, Verdict.SUCCESS, seconds=2.0)
    clock.advance(8)
    run(circuit, Verdict.SUCCESS, seconds=2.0)
    assert CircuitState.OPEN is circuit.state


@pytest.mark.parametrize(
    ("state", "lets", "counts"),
    [("disabled", True, 0), ("metrics_only", True, 30), ("forced_open", False, 0)],
)
def test_states_by_hand(circuit, state, lets, counts):
    """Set by configuration while it runs, and taken back in the same way."""
    circuit.configure(CircuitConfig(state=state))
    assert state == circuit.state.value
    for _ in range(30):
        permit = circuit.acquire()
        assert lets is (permit is not None)
        if permit is not None:
            circuit.report(permit, Verdict.FAILURE, 0.1)
    assert state == circuit.state.value
    assert counts == circuit.counts().calls
    circuit.configure(CircuitConfig())
    assert CircuitState.CLOSED is circuit.state


def test_settings_do_not_reset_what_was_learned(circuit):
    """Known bug: settings that arrive again reset what was learned.  They do not.

    Hand mutation: `force` on every `configure`.
    """
    run(circuit, *[Verdict.FAILURE] * 10)
    circuit.configure(CircuitConfig(calls=11, window=20.0))
    assert (10, 10, 0) == circuit.counts()
    run(circuit, Verdict.FAILURE)
    assert CircuitState.OPEN is circuit.state
    circuit.configure(CircuitConfig())
    assert CircuitState.OPEN is circuit.state


def test_methods_have_circuits_of_their_own(clock):
    """GET may be broken while POST works."""
    circuits = Circuits("shop", clock, random.Random(1), CircuitConfig(calls=1))
    run(circuits.of("GET"), Verdict.FAILURE)
    assert circuits.of("GET").acquire() is None
    assert circuits.of("POST").acquire() is not None


def test_the_number_of_circuits_is_bounded(clock):
    """Who invents methods shares one circuit with all who do."""
    circuits = Circuits("shop", clock, random.Random(1), CircuitConfig())
    for number in range(5 * MOST):
        circuits.of(f"M{number}")
    assert len(circuits.all()) <= MOST + 1
    assert f"shop {OTHER}" == circuits.of("yet another").name


def test_the_method_of_grpc_is_its_path():
    """All gRPC calls are POST."""
    grpc = Call("shop", "POST", "/shop.Items/Get", headers={"content-type": "application/grpc"})
    assert ("/shop.Items/Get", "GET") == (method_of(grpc), method_of(Call("shop")))
