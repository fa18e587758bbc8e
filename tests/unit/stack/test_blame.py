"""Whom a failed attempt is blamed on."""

from __future__ import annotations

from contextlib import suppress

import pytest

from meshlib.config import OutlierConfig, RetryConfig, SessionConfig
from meshlib.errors import AttemptFailed, Interrupted, NoEndpoint
from meshlib.model import Attempt, Call, Reply
from meshlib.policy.breaker import State
from meshlib.policy.stall import INTERVAL, StallMeter
from meshlib.stack.client import client_stack
from meshlib.testing.script import Script, StreamedReply, endpoints, refused, reset


def broken(world):
    """How many breakers are not closed."""
    return sum(state.breaker.state is not State.CLOSED for state in world.upstream.states())


def balance(world, **config):
    """Let settings hold, of the stack and of the upstream; endpoints are taken in turn."""
    world.configure(balancer="round_robin", **config)
    world.upstream.configure(world.destination.config.value)


@pytest.fixture
def attempt_all(world):
    """Make a call to each of these paths, 0.2 s apart, in turn to all endpoints."""
    balance(world)

    def call(script, paths, **fields):
        for path in paths:
            with suppress(AttemptFailed):
                world.call(script, path=path, **fields)
            world.clock.advance(0.2)

    return call


class TestStatuses:
    @pytest.mark.parametrize("status", [400, 404, 409, 429, 499])
    def test_counting_429_and_4xx_wrong(self, world, status):
        """Known hard bug: what blames the caller says that the endpoint is well.

        Fails when `classify` takes statuses from 400 on for failures (hand mutation).
        """
        for n in range(100):
            world.call(Script(status), path=f"/{n}")
        assert 0 == broken(world)

    def test_5xx_opens(self, world, attempt_all):
        """Requests of different paths that fail are the endpoints' failures."""
        attempt_all(Script(500, for_ever=True), [f"/{n}" for n in range(60)])
        assert 3 == broken(world)


class TestPoison:
    def test_retried_request(self, world, attempt_all):
        """A request that kills whoever serves it takes nobody out, however often it is sent.

        The naive twin is the same without poison detection.
        """
        attempt_all(Script(lambda _: reset(), for_ever=True), ["/poison"] * 50)
        assert 0 == broken(world)
        assert 0 == world.pending
        balance(world, outlier=OutlierConfig(poison=0.0))
        attempt_all(Script(lambda _: reset(), for_ever=True), ["/poison"] * 50)
        assert 0 < broken(world)

    def test_every_time_another_one(self, world, attempt_all):
        """Different requests that fail at two endpoints each do not add up."""
        attempt_all(Script(503, for_ever=True), [f"/{n}" for n in range(100)])
        assert 0 == broken(world)

    def test_not_retried_request(self, world, attempt_all):
        """The same holds across calls, where a 500 is not tried again."""
        attempt_all(Script(500, for_ever=True), ["/poison"] * 60)
        assert 0 == broken(world)

    def test_requests_that_others_can_serve(self, world, attempt_all):
        """Two endpoints that fail what the third can do are to blame."""
        well = endpoints(3)[0]
        script = Script(lambda attempt: 200 if attempt.endpoint == well else 500, for_ever=True)
        attempt_all(script, ["/"] * 100)
        assert 2 == broken(world)

    def test_connections_are_no_request(self, world, attempt_all):
        """Nobody has seen the request: endpoints that refuse are to blame."""
        attempt_all(Script(lambda _: refused(), for_ever=True), ["/"] * 20)
        assert 3 == broken(world)
        assert all(state.breaker.unreachable for state in world.upstream.states())


class TestStaleDiscovery:
    def test_stale_discovery(self, world):
        """Known hard bug: what is gone, and still listed, is left out after five connections.

        Fails when the balance layer reports every failure as connected and the row of failures
        is long (hand mutation: `connected=True` in `settle`, with failures=100).
        """
        balance(world, outlier=OutlierConfig(failures=100, success_rate=0.0))
        gone = set(endpoints(1, 2))
        world.bind(*endpoints(1, 2, 3, 4, 5))
        script = Script(
            lambda attempt: refused() if attempt.endpoint in gone else 200, for_ever=True
        )
        for n in range(200):
            assert 200 == world.call(script, path=f"/{n}").status
        assert not gone & set(script.endpoints[-100:])


class TestTwo:
    def test_of_two_a_failing_one_is_drawn_less(self, world, attempt_all):
        """Neither is taken out; the one that fails gets about one request in eleven."""
        world.bind(*endpoints(1, 2))
        bad = endpoints(1)[0]
        script = Script(lambda attempt: 500 if attempt.endpoint == bad else 200, for_ever=True)
        attempt_all(script, [f"/{n}" for n in range(60)])
        assert 1 == broken(world)
        before = len(script.attempts)
        attempt_all(script, [f"/{n}" for n in range(2000)])
        picked = script.endpoints[before:].count(bad)
        assert pytest.approx(2000 / 11, abs=60) == picked


class Stalled:
    """An engine whose process stands still for a while, and whose attempts then time out."""

    def __init__(self, world, meter, moves, pause):
        self.world, self.meter, self.moves, self.pause = world, meter, moves, pause
        self.outcomes = []

    async def __call__(self, attempt: Attempt) -> Reply:
        for _ in range(self.moves):
            self.world.clock.advance(INTERVAL)
            self.meter.beat(self.world.clock.now)
        self.world.clock.advance(self.pause)
        raise Interrupted("silent", timed_out=True)


class TestSelfBlame:
    @pytest.fixture
    def calls(self, world):
        """Make calls that time out after so many beats and a pause; returns what was heard."""

        def make(moves, pause, times=30):
            meter, heard = StallMeter(), []
            meter.beat(world.clock.now)

            class Listener(type(world.listener)):
                def attempt_finished(self, service, endpoint, verdict, seconds):
                    heard.append((verdict, seconds))

            stack = client_stack(
                world.destination,
                Stalled(world, meter, moves, pause),
                runtime=world.runtime,
                tracer=world.tracer,
                listener=Listener(),
                stalls=meter,
            )
            for n in range(times):
                with pytest.raises(AttemptFailed):
                    world.drive(stack(Call("shop", "POST", f"/{n}")))
                meter.beat(world.clock.now)
            return heard

        return make

    def test_loop_blocked_and_false_timeouts_eject_peers(self, world, calls):
        """Known hard bug: a process that stood still blames nobody for silence.

        Fails when `excuses` is always false (hand mutation).
        """
        heard = calls(1, 3.0)
        assert 0 == broken(world)
        assert {"ignored"} == {verdict.value for verdict, _ in heard}

    def test_silence_of_a_process_that_ran_is_the_peers(self, world, calls):
        """Beats on time all the while: the endpoint did not answer."""
        heard = calls(10, 0.0)
        assert 0 < broken(world)
        assert {"failure"} == {verdict.value for verdict, _ in heard}

    def test_the_stall_is_no_latency(self, calls):
        """Of 3.1 s only those count in which the process could have read an answer."""
        assert all(seconds < 0.3 for _, seconds in calls(1, 3.0, times=3))

    def test_an_excused_attempt_is_tried_again(self, world):
        """Excusing the endpoint does not take the retry from the call."""
        meter = StallMeter()
        meter.beat(world.clock.now)
        attempts = []

        async def engine(attempt):
            attempts.append(attempt)
            if len(attempts) == 1:
                world.clock.advance(3.0)
                raise Interrupted("silent", timed_out=True)
            return Reply(200)

        stack = client_stack(
            world.destination,
            engine,
            runtime=world.runtime,
            tracer=world.tracer,
            listener=world.listener,
            stalls=meter,
        )
        assert 200 == world.drive(stack(Call("shop"))).status
        assert [True, False] == [attempt.excused for attempt in attempts]

    def test_a_body_that_falls_silent_in_a_stall(self, world):
        """The same holds after the reply has begun."""
        world.configure(retry=RetryConfig(attempts=1))
        meter = StallMeter()
        replies = [StreamedReply(200) for _ in range(20)]
        stack = client_stack(
            world.destination,
            Script(*replies),
            runtime=world.runtime,
            tracer=world.tracer,
            listener=world.listener,
            stalls=meter,
        )
        for n, reply in enumerate(replies):
            meter.beat(world.clock.now)
            world.drive(stack(Call("shop", path=f"/{n}")))
            world.clock.advance(3.0)
            reply.close(Interrupted("silent", timed_out=True))
        assert 0 == broken(world)


class TestSessions:
    @pytest.fixture
    def cookies(self, world):
        """Switch sessions on."""
        balance(world, session=SessionConfig(cookie="sid"))

    @pytest.mark.usefixtures("cookies")
    def test_the_reply_names_the_endpoint_once(self, world):
        """Who brings no name is told one; who comes back with it gets the endpoint, and no more."""
        script = Script(lambda _: Reply(200, raw_headers=((b"x", b"y"),)), for_ever=True)
        first = world.call(script)
        (kept, (name, value)) = first.raw_headers
        assert ((b"x", b"y"), b"set-cookie") == (kept, name)
        cookie = value.decode().partition(";")[0]
        for _ in range(20):
            again = world.call(script, headers={"cookie": cookie})
            assert ((b"x", b"y"),) == again.raw_headers
            assert first.endpoint == again.endpoint

    def test_a_strict_session_that_is_lost_says_so(self, world):
        """The error tells what is gone, and how to begin anew."""
        balance(world, session=SessionConfig(cookie="sid", strict=True))
        with pytest.raises(NoEndpoint, match="begin a new session"):
            world.call(Script(), headers={"cookie": "sid=gone"})

    def test_without_sessions_nothing_is_added(self, world):
        """They are off unless somebody asks for them."""
        assert () == world.call(Script(200)).raw_headers
