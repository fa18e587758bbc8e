"""Time that stands still until a test moves it."""

from __future__ import annotations


class FakeClock:
    """A `Clock` and the sleep that goes with it: `SyncRuntime(clock, rng, sleep=clock.sleep)`.

    Sleeping takes no time: it is written down in `slept` and moves the clock.
    """

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        """Seconds; starts away from zero, so that a forgotten start shows."""
        self.slept: list[float] = []
        """Seconds of every sleep, in order."""

    def __call__(self) -> float:
        """The time now."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass.  Raises ValueError for a step backwards: monotonic clocks have none."""
        if not seconds >= 0:
            message = f"a clock goes forward, not {seconds!r} seconds"
            raise ValueError(message)
        self.now += seconds

    def sleep(self, seconds: float) -> None:
        """Pass `seconds` and remember that somebody slept."""
        self.advance(seconds)
        self.slept.append(seconds)

    def __repr__(self) -> str:
        return f"<FakeClock {self.now:g}>"
