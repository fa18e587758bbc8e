"""
Time, chance and waiting: all that a layer may ask of the world, and their one real home.

The same stack serves code with and without an event loop.  `SyncRuntime` blocks the thread inside
coroutines that never suspend, and `run_sync` drives such a coroutine to its end without a loop;
`AsyncRuntime` waits in the running asyncio loop.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

Clock: TypeAlias = Callable[[], float]
"""Seconds since an arbitrary moment; never goes back."""


Aside: TypeAlias = Callable[[Coroutine[Any, Any, None]], bool]
"""Does work that nobody waits for; False: it does not, and has closed it.  The work raises
nothing."""


Race: TypeAlias = Callable[..., Coroutine[Any, Any, tuple[Any, Any]]]
"""`Runtime.race`, for threads."""


class Rng(Protocol):
    """The part of `random.Random` that policies use."""

    def random(self) -> float:
        """A float in [0, 1)."""

    def randrange(self, stop: int, /) -> int:
        """An int in [0, stop)."""


class Signal(Protocol):
    """Something that happens, perhaps on another thread."""

    @property
    def ready(self) -> bool:
        """Whether it has happened."""

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back each time it happens, now if it has; returns how to stop that."""


class Runtime(Protocol):
    """What a layer may await besides the service beneath it."""

    @property
    def clock(self) -> Clock:
        """The monotonic clock that deadlines are measured on."""

    @property
    def rng(self) -> Rng:
        """The source of chance."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""

    async def wait(self, signal: Signal, seconds: float) -> bool:
        """Wait until `signal` is ready, at most `seconds` (inf: for ever); whether it is."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> bool:
        """Have `work` done beside the call; False: it is not, as too much is under way."""

    @property
    def concurrent(self) -> bool:
        """Whether `race` can run two things side by side."""

    async def race(
        self,
        first: Coroutine[Any, Any, T],
        seconds: float,
        second: Callable[[], Coroutine[Any, Any, T] | None],
        wins: Callable[[T], bool],
    ) -> tuple[T | None, T | None]:
        """Run `first`; if it has not ended after `seconds`, run what `second` makes beside it.

        It is over when one has ended with a result that `wins`, or all have ended.  The other one
        is cancelled, and has ended when this returns what each came to: None for one that was
        cancelled or never began.
        """


def nobody(work: Coroutine[Any, Any, None]) -> bool:
    """The `Aside` of who has none: the work is not done."""
    work.close()
    return False


real_clock: Clock = time.monotonic
"""Named once."""


def new_rng() -> random.Random:
    """A generator of its own, seeded by the system."""
    return random.Random()  # noqa: S311 - balancing and jitter need no secrecy


class SyncRuntime:
    """Blocks the calling thread.  Its coroutines never suspend."""

    __slots__ = ("_aside", "_race", "_sleep", "clock", "rng")

    def __init__(
        self,
        clock: Clock = time.monotonic,
        rng: Rng | None = None,
        sleep: Callable[[float], None] = time.sleep,
        aside: Aside | None = None,
        race: Race | None = None,
    ) -> None:
        self.clock: Clock = clock
        self.rng: Rng = rng or new_rng()
        self._sleep = sleep
        self._aside, self._race = aside or nobody, race

    @property
    def concurrent(self) -> bool:
        """Whether somebody can make what waits in another thread stop."""
        return self._race is not None

    def spawn(self, work: Coroutine[Any, Any, None]) -> bool:
        """Hand `work` to another thread, if there is one for it."""
        return self._aside(work)

    async def sleep(self, seconds: float) -> None:
        """Block for `seconds`."""
        self._sleep(seconds)

    async def wait(self, signal: Signal, seconds: float) -> bool:
        """Block until `signal` is ready."""
        happened = threading.Event()
        unsubscribe = signal.subscribe(happened.set)
        try:
            happened.wait(min(seconds, threading.TIMEOUT_MAX))
        finally:
            unsubscribe()
        return signal.ready

    async def race(
        self,
        first: Coroutine[Any, Any, T],
        seconds: float,
        second: Callable[[], Coroutine[Any, Any, T] | None],
        wins: Callable[[T], bool],
    ) -> tuple[T | None, T | None]:
        """Run `first` alone, where there is but one thread."""
        if self._race is None:
            return await first, None
        return await self._race(first, seconds, second, wins)


class AsyncRuntime:
    """Waits in whatever asyncio loop is running."""

    __slots__ = ("_aside", "clock", "rng")

    concurrent = True

    def __init__(
        self,
        clock: Clock = time.monotonic,
        rng: Rng | None = None,
        aside: Aside | None = None,
    ) -> None:
        self.clock: Clock = clock
        self.rng: Rng = rng or new_rng()
        self._aside = aside or nobody

    def spawn(self, work: Coroutine[Any, Any, None]) -> bool:
        """Make a task of `work`, if there is room for it."""
        return self._aside(work)

    async def sleep(self, seconds: float) -> None:
        """Suspend for `seconds`."""
        import asyncio

        await asyncio.sleep(seconds)

    async def wait(self, signal: Signal, seconds: float) -> bool:
        """Suspend until `signal`, set on any thread, is ready."""
        import asyncio

        loop = asyncio.get_running_loop()
        happened = asyncio.Event()

        def on_any_thread() -> None:
            loop.call_soon_threadsafe(happened.set)

        unsubscribe = signal.subscribe(on_any_thread)
        try:
            async with asyncio.timeout(None if seconds == float("inf") else seconds):
                await happened.wait()
        except TimeoutError:
            pass
        finally:
            unsubscribe()
        return signal.ready

    async def race(
        self,
        first: Coroutine[Any, Any, T],
        seconds: float,
        second: Callable[[], Coroutine[Any, Any, T] | None],
        wins: Callable[[T], bool],
    ) -> tuple[T | None, T | None]:
        """Run both in tasks of the running loop."""
        import asyncio

        racers = [asyncio.ensure_future(first)]
        try:
            await asyncio.wait(racers, timeout=seconds)
            other = None if racers[0].done() else second()
            if other is not None:
                racers.append(asyncio.ensure_future(other))
            pending = set(racers)
            while pending and not any(_won(racer, wins) for racer in racers):
                _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for racer in racers:
                racer.cancel()
            await asyncio.wait(racers)
        if not any(_won(racer, wins) for racer in racers):
            racers[0].result()  # raises if it was cancelled from within
        results = [None if racer.cancelled() else racer.result() for racer in racers]
        return results[0], results[1] if len(results) > 1 else None


def _won(racer: asyncio.Future[T], wins: Callable[[T], bool]) -> bool:
    return racer.done() and not racer.cancelled() and wins(racer.result())


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, without an event loop.

    Raises RuntimeError if it suspends after all: a layer awaited something other than the service
    beneath it, a reply or its runtime.
    """
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    message = "a layer suspended without an event loop: it may await only what is beneath it"
    raise RuntimeError(message)
