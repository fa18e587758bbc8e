"""Failing and stalling on purpose, for the `--faulty` backend."""

from __future__ import annotations

from dataclasses import dataclass

from meshlib.errors import ConfigError
from meshlib.runtime import Rng

FAILURES = (500, 503)
"""One status that must not be retried blindly for every method, and one that may be."""


@dataclass(frozen=True, slots=True)
class Faults:
    """How often to do what.  Raises ConfigError for rates outside 0..1 and for negative times."""

    fail_rate: float = 0.0
    stall_rate: float = 0.0
    stall_seconds: float = 2.0

    def __post_init__(self) -> None:
        for field in ("fail_rate", "stall_rate"):
            if not 0 <= getattr(self, field) <= 1:
                raise ConfigError(field, getattr(self, field), "a fraction 0..1")
        if self.stall_seconds < 0:
            raise ConfigError("stall_seconds", self.stall_seconds, "a number >= 0")

    def status(self, rng: Rng) -> int | None:
        """The status to fail this request with, or None to serve it."""
        if rng.random() >= self.fail_rate:
            return None
        return FAILURES[rng.randrange(len(FAILURES))]

    def stall(self, rng: Rng) -> float:
        """Seconds to stand still before this request."""
        return self.stall_seconds if rng.random() < self.stall_rate else 0.0


NO_FAULTS = Faults()
FAULTY = Faults(fail_rate=0.25, stall_rate=0.05)
"""What `--faulty` means unless the rates are given."""
