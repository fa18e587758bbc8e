"""How long to wait before trying again."""

from __future__ import annotations

from dataclasses import dataclass

from meshlib.config import BackoffConfig
from meshlib.runtime import Rng

_LARGEST_EXPONENT = 1023
"""2.0 to this is still a float; the cap is reached long before."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter.

    Full, as the calls that failed together must not come back together: of the jitters compared
    in "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015) it costs the least work.
    Envoy does the same.
    """

    config: BackoffConfig

    def delay(self, retry: int, rng: Rng) -> float:
        """Seconds before the `retry`-th retry (1 is the first)."""
        growth = 2.0 ** min(retry - 1, _LARGEST_EXPONENT)
        return rng.random() * min(self.config.cap, self.config.base * growth)
