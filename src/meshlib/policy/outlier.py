"""
When an endpoint has failed enough to be left alone for a while.

Three rules, any of which is enough:

1. `connect_failures` connections in a row did not come about: nobody is there.
2. `failures` requests in a row failed, for whatever reason.
3. Fewer than `success_rate` of the requests of the last `window` seconds succeeded, and there were
   at least `requests` of them.

A row ends with a success and with nothing else: no sweep empties it every few seconds, which makes
Envoy miss an endpoint whose failures come slowly (envoy#40697).  What counts as a failure is said
by `policy.classify`: no 4xx, 429 included, and nobody who went away.

The rows are Finagle's failure accrual and Linkerd's, the rate is that of their newer hybrids.
"""

from __future__ import annotations

from meshlib.config import OutlierConfig
from meshlib.policy.tally import Tally


class Detector(Tally):
    """Counts what became of the requests to one endpoint.  Not thread-safe: the breaker locks."""

    __slots__ = ("_config", "_connects", "_failures")

    def __init__(self, config: OutlierConfig, now: float) -> None:
        super().__init__(config.window, now)
        self._config = config
        self._connects = self._failures = 0

    def configure(self, config: OutlierConfig, now: float) -> None:
        """Go by other bounds from the next failure on; what was counted stays."""
        self._config = config
        self.resize(config.window, now)

    def clear(self) -> None:
        """Forget everything."""
        super().clear()
        self._connects = self._failures = 0

    def succeeded(self, now: float) -> None:
        """Count a success.

        This one may be called without a lock: the worst that two threads at a time can do is to
        lose one success of many.
        """
        self._connects = self._failures = 0
        self.passed(now)

    def failed(self, now: float, *, connected: bool) -> bool:
        """Count a failure; whether that was one too many."""
        self._connects = 0 if connected else self._connects + 1
        self._failures += 1
        self.add(now, failed=True, slow=False)
        return self._in_a_row() or self._too_often(now)

    def forgive(self, now: float) -> None:
        """Take one failure back: it was not the endpoint's."""
        super().forgive(now)
        self._failures = max(self._failures - 1, 0)

    @property
    def unreachable(self) -> bool:
        """Whether rule 1 holds."""
        return self._connects >= self._config.connect_failures

    def _in_a_row(self) -> bool:
        return self.unreachable or self._failures >= self._config.failures

    def _too_often(self, now: float) -> bool:
        counts = self.counts(now)
        enough = counts.calls >= self._config.requests
        return enough and 1 - counts.failures < self._config.success_rate
