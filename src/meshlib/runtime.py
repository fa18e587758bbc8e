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
from typing import Any, Protocol, TypeAlias, TypeVar

T = TypeVar("T")

Clock: TypeAlias = Callable[[], float]
"""Seconds since an arbitrary moment; never goes back."""


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


def real_clock() -> float:
    """`time.monotonic`, named once."""
    return time.monotonic()


def new_rng() -> random.Random:
    """A generator of its own, seeded by the system."""
    return random.Random()  # noqa: S311 - balancing and jitter need no secrecy


class SyncRuntime:
    """Blocks the calling thread.  Its coroutines never suspend."""

    __slots__ = ("_sleep", "clock", "rng")

    def __init__(
        self,
        clock: Clock = time.monotonic,
        rng: Rng | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.clock: Clock = clock
        self.rng: Rng = rng or new_rng()
        self._sleep = sleep

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


class AsyncRuntime:
    """Waits in whatever asyncio loop is running."""

    __slots__ = ("clock", "rng")

    def __init__(self, clock: Clock = time.monotonic, rng: Rng | None = None) -> None:
        self.clock: Clock = clock
        self.rng: Rng = rng or new_rng()

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
