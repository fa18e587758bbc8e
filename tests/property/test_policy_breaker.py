from __future__ import annotations

from math import inf
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from meshlib.config import OutlierConfig
from meshlib.model import Verdict
from meshlib.policy.breaker import UNCOUNTED, Breaker, State
from meshlib.testing.clock import FakeClock

VERDICTS = st.sampled_from(list(Verdict))


class Model(RuleBasedStateMachine):
    """The rules of `breaker.py`, said a second time in the simplest words.

    A request is "good" while the breaker has not moved since it was picked, and was picked by
    the rules: while closed, or as the probe.
    """

    @initialize(failures=st.integers(1, 3), seed=st.integers(0, 9))
    def start(self, failures, seed):
        self.clock = FakeClock()
        self.config = OutlierConfig(
            failures=failures,
            success_rate=0.0,
            cooldown=1.0,
            max_cooldown=5.0,
            jitter=0.5,
            lease=3.0,
        )
        self.heard = []
        moved = lambda *move: self.heard.append(move)  # noqa: E731
        self.breaker = Breaker(self.clock, Random(seed), self.config, moved)
        self.state, self.row, self.cooldown = State.CLOSED, 0, 1.0
        self.due = (inf, inf)
        self.good, self.bad = [], []
        self.told = []

    def move(self, state, earliest, latest):
        self.told.append((self.state, state))
        self.state, self.due, self.row = state, (earliest, latest), 0
        self.bad += self.good
        self.good = []

    def open(self, cooldown):
        self.cooldown = cooldown
        self.move(State.OPEN, self.clock.now + cooldown, self.clock.now + 1.5 * cooldown)

    @rule()
    def pick(self):
        permit = self.breaker.permit
        (self.good if self.state is State.CLOSED else self.bad).append(permit)

    @rule(seconds=st.sampled_from([0.0, 0.4, 1.0, 3.0, 8.0]))
    def wait(self, seconds):
        self.clock.advance(seconds)

    @rule()
    def wait_until_due(self):
        if self.breaker.due != inf:
            self.clock.now = max(self.clock.now, self.breaker.due)

    @rule()
    def probe(self):
        is_due = self.clock.now >= self.breaker.due
        permit = self.breaker.try_probe()
        assert is_due == (permit != UNCOUNTED)
        if is_due:
            end = self.clock.now + self.config.lease
            self.move(State.HALF_OPEN, end, end)
            self.good.append(permit)

    @rule(verdict=VERDICTS, data=st.data())
    def report(self, verdict, data):
        if not self.good:
            return
        self.breaker.report(self.good.pop(data.draw(st.integers(0, len(self.good) - 1))), verdict)
        if self.state is State.CLOSED:
            self.expect_of_closed(verdict)
        else:
            self.expect_of_probe(verdict)

    def expect_of_closed(self, verdict):
        if verdict.failed:
            self.row += 1
        elif verdict is Verdict.SUCCESS:
            self.row = 0
        if self.row == self.config.failures:
            self.open(self.config.cooldown)

    def expect_of_probe(self, verdict):
        if verdict is Verdict.SUCCESS:
            self.move(State.CLOSED, inf, inf)
        elif verdict is Verdict.IGNORED:
            self.move(State.OPEN, self.clock.now, self.clock.now)
        else:
            self.open(min(5.0, 2 * self.cooldown))

    @rule(verdict=VERDICTS, data=st.data())
    def report_late(self, verdict, data):
        if self.bad:
            self.breaker.report(data.draw(st.sampled_from(self.bad)), verdict)

    @rule(verdict=VERDICTS)
    def fail_in_a_row(self, verdict):
        while self.state is State.CLOSED and verdict.failed:
            self.good.append(self.breaker.permit)
            self.breaker.report(self.good.pop(), verdict)
            self.expect_of_closed(verdict)

    @invariant()
    def agrees(self):
        assert self.state is self.breaker.state
        assert self.due[0] <= self.breaker.due <= self.due[1]
        assert (self.state is State.CLOSED) == (self.breaker.permit != UNCOUNTED)
        assert self.told == self.heard


TestBreaker = Model.TestCase
TestBreaker.settings = settings(stateful_step_count=40)
