"""
Which requests an overloaded server turns away: the least urgent first, and no more than it must.

Rules, after DAGOR (WeChat, SoCC 2018):

1. There is a *line* through the priorities, 0 (most urgent) .. 7.  A request of priority p draws a
   number u from [0, 1) and is let in if p + u is below the line.  So the line moves through a
   priority smoothly, also where all requests have the same one.
2. Each measurement that finds an overload moves the line down by `_DOWN`, beginning at the least
   urgent priority that was seen since the last: what nobody sends need not be shed.
3. Each that finds none moves it up by `_UP`, more slowly, so that the load does not swing.
4. The line never falls below 1: priority 0 is never shed.
"""

from __future__ import annotations

from meshlib.config import ShedConfig
from meshlib.policy.priority import LEAST_URGENT
from meshlib.runtime import Rng

_OPEN = LEAST_URGENT + 1.0
_DOWN = 0.2
"""Of one priority's requests, per overloaded measurement: all of them after half a second."""
_UP = 0.05
"""Back in four times that; DAGOR's steps are 5 % and 1 %."""


class Shedder:
    """Written by whoever measures; read by every request, without a lock."""

    __slots__ = ("_config", "_least_urgent", "_rng", "line", "why")

    def __init__(self, config: ShedConfig, rng: Rng) -> None:
        self._config = config
        self._rng = rng
        self._least_urgent = 0
        self.line = _OPEN
        """Requests below it are let in."""
        self.why = ""
        """What the last overload was."""

    def configure(self, config: ShedConfig) -> None:
        """Use other settings; the line stays where it is."""
        self._config = config

    def measured(self, *, lag: float, cpu: float) -> None:
        """Move the line: `lag` in seconds, `cpu` as a share of the quota."""
        seen, self._least_urgent = self._least_urgent, 0
        overload = self._overload(lag, cpu)
        if overload:
            self.why = overload
            self.line = max(1.0, min(self.line, seen + 1.0) - _DOWN)
        else:
            self.line = min(_OPEN, self.line + _UP)

    def refuses(self, priority: int) -> bool:
        """Whether a request of this priority is to be turned away."""
        self._least_urgent = max(self._least_urgent, priority)
        return self.line < _OPEN and priority + self._rng.random() >= self.line

    def _overload(self, lag: float, cpu: float) -> str:
        if lag > self._config.lag:
            return f"work waits {lag * 1000:.0f} ms for the processor"
        if cpu >= self._config.cpu:
            return f"{cpu:.0%} of the processor quota is used"
        return ""

    def __repr__(self) -> str:
        return f"<Shedder line at {self.line:.2f}>"
