"""
Traffic that goes on while something happens, and counts what fails.

Each lane is one thread that does the same exchange again and again; whatever it raises, or answers
wrongly, is a problem, and nothing is tried twice.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Self

PACE = 0.04
"""Seconds between two exchanges of a lane."""
PATIENCE = 60.0


class Traffic:
    """Lanes by name.  A context manager: they begin when it is entered, and end with it."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.done: Counter[str] = Counter()
        self.seen: dict[str, set[Any]] = {}
        """What the exchanges of a lane returned."""
        self._lanes: dict[str, Callable[[], None]] = {}
        self._threads: list[threading.Thread] = []
        self._ending = threading.Event()
        self._changed = threading.Condition()

    def lane(self, name: str, exchange: Callable[[], Any]) -> None:
        """Do this again and again."""

        def run() -> None:
            while not self._ending.wait(PACE):
                self._note(name, exchange())

        self._lanes[name] = run

    def async_lane(
        self,
        name: str,
        client: Callable[[], AbstractAsyncContextManager[Any]],
        exchange: Callable[[Any], Awaitable[Any]],
    ) -> None:
        """The same in an event loop of its own, with a client that lasts."""

        async def run() -> None:
            async with client() as it:
                while not await asyncio.to_thread(self._ending.wait, PACE):
                    self._note(name, await exchange(it))

        self._lanes[name] = lambda: asyncio.run(run())

    def flows(self, count: int = 20) -> None:
        """Block until every lane has had so many more exchanges, all of them good."""
        goal = {name: self.done[name] + count for name in self._lanes}
        self.until(lambda: all(self.done[name] >= least for name, least in goal.items()))

    def until(self, happened: Callable[[], bool]) -> None:
        """Block until it has happened, which is looked at after each exchange."""
        with self._changed:
            there = self._changed.wait_for(lambda: self.problems or happened(), PATIENCE)
        if self.problems:
            raise AssertionError(self.problems[:3])
        if not there:
            raise TimeoutError(f"it did not happen: {dict(self.done)} {self.seen}")

    def __enter__(self) -> Self:
        for name, run in self._lanes.items():
            thread = threading.Thread(target=self._guarded, args=(name, run), name=name)
            self._threads.append(thread)
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _note(self, name: str, returned: Any) -> None:
        with self._changed:
            self.done[name] += 1
            self.seen.setdefault(name, set()).add(returned)
            self._changed.notify_all()

    def _guarded(self, name: str, run: Callable[[], None]) -> None:
        try:
            run()
        except Exception as exc:  # noqa: BLE001 - each is a problem of the test
            with self._changed:
                self.problems.append(f"{name}, after {self.done[name]}: {exc!r}")
                self._changed.notify_all()
