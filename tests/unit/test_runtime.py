from __future__ import annotations

import asyncio
import threading
from math import inf
from random import Random

import pytest

from meshlib.runtime import AsyncRuntime, SyncRuntime, new_rng, real_clock, run_sync
from meshlib.testing.clock import FakeClock
from meshlib.watch import Watch


class Suspends:
    def __await__(self):
        yield


async def answer():
    """A coroutine that never suspends."""
    return 42


class TestRunSync:
    def test_it_returns_what_the_coroutine_returns(self):
        """One step is enough for a coroutine that never suspends."""
        assert 42 == run_sync(answer())

    def test_it_raises_what_the_coroutine_raises(self):
        """Errors come out as they are."""

        async def fail():
            raise KeyError("it")

        with pytest.raises(KeyError, match="it"):
            run_sync(fail())

    def test_a_coroutine_that_suspends_is_ended_and_reported(self):
        """Its `finally` runs, and the error says what layers may await."""
        ended = []

        async def suspend():
            try:
                await Suspends()
            finally:
                ended.append(True)

        coroutine = suspend()  # kept, so that nobody but run_sync ends it
        with pytest.raises(RuntimeError, match="suspended without an event loop"):
            run_sync(coroutine)
        assert [True] == ended


class TestSyncRuntime:
    def test_sleeping_is_what_it_was_given(self):
        """With a fake clock, sleep takes no time and moves the clock."""
        clock = FakeClock()
        runtime = SyncRuntime(clock, Random(1), sleep=clock.sleep)
        begin = runtime.clock()
        run_sync(runtime.sleep(2.5))
        assert ([2.5], 2.5) == (clock.slept, runtime.clock() - begin)

    def test_waiting_ends_when_another_thread_sets_the_value(self):
        """A thread that waits for ever is woken."""
        watch = Watch(0)
        setter = threading.Thread(target=watch.set, args=(1,))

        class Started:
            ready = property(lambda _: watch.ready)

            def subscribe(self, callback):
                leave = watch.subscribe(callback)
                setter.start()
                return leave

        assert run_sync(SyncRuntime().wait(Started(), inf))
        setter.join()

    @pytest.mark.parametrize("ready", [True, False])
    def test_waiting_no_time_says_how_things_stand(self, ready):
        """The answer is whether the signal is ready, and nobody stays subscribed."""
        watch = Watch(0, ready=ready)
        assert ready is run_sync(SyncRuntime().wait(watch, 0.0))
        assert [] == watch._subscribers


class TestAsyncRuntime:
    def test_waiting_ends_when_another_thread_sets_the_value(self):
        """The loop is woken from outside."""
        watch = Watch(0)

        async def main():
            waiting = asyncio.create_task(AsyncRuntime().wait(watch, inf))
            await asyncio.sleep(0)
            assert 1 == len(watch._subscribers)
            await asyncio.to_thread(watch.set, 1)
            return await waiting

        assert asyncio.run(main())
        assert [] == watch._subscribers

    @pytest.mark.parametrize("ready", [True, False])
    def test_waiting_no_time_says_how_things_stand(self, ready):
        """The same in a loop."""
        watch = Watch(0, ready=ready)
        assert ready is asyncio.run(AsyncRuntime().wait(watch, 0.0))
        assert [] == watch._subscribers

    def test_a_cancelled_wait_leaves_nothing_behind(self):
        """Cancellation goes through, and the subscription is gone."""
        watch = Watch(0)

        async def main():
            waiting = asyncio.create_task(AsyncRuntime().wait(watch, inf))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

        asyncio.run(main())
        assert [] == watch._subscribers

    def test_sleeping_lets_others_run(self):
        """A task that sleeps, even for no time, gives the loop away."""
        order = []

        async def main():
            async def other():
                order.append("other")

            task = asyncio.create_task(other())
            await AsyncRuntime().sleep(0)
            order.append("sleeper")
            await task

        asyncio.run(main())
        assert ["other", "sleeper"] == order


def test_the_real_clock_never_goes_back():
    """Two looks at the clock are in order."""
    assert real_clock() <= real_clock()


def test_every_generator_is_its_own():
    """Two of them do not draw the same numbers."""
    assert new_rng().random() != new_rng().random()


class TestFakeClock:
    def test_it_stands_until_it_is_moved(self):
        """Reading it does not move it."""
        clock = FakeClock(5.0)
        assert 5.0 == clock() == clock()
        clock.advance(1.5)
        assert (6.5, []) == (clock(), clock.slept)

    @pytest.mark.parametrize("seconds", [-1.0, float("nan")])
    def test_it_does_not_go_back(self, seconds):
        """A step backwards is a mistake of the test, or of the code under it."""
        with pytest.raises(ValueError, match="forward"):
            FakeClock().advance(seconds)
