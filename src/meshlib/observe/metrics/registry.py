"""All metrics of one mesh: made once each, capped together, forgotten in a forked process."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable

from meshlib.errors import ConfigError
from meshlib.observe.metrics.family import Family, Gauge, Labels, Reading, Room
from meshlib.observe.metrics.series import CAP, Counter, Histogram
from meshlib.runtime import Clock


class Registry:
    """Makes families and lists them.  Names get the prefix `meshlib_`."""

    def __init__(self, clock: Clock, cap: int = CAP) -> None:
        if cap < 1:
            raise ConfigError("cap", cap, "an integer >= 1")
        self._room = Room(clock, cap, lambda name: self._folded.add((name,)))
        self._counted: list[Counter | Histogram] = []
        self._gauges: list[Gauge] = []
        self._folded = self.counter(
            "metric_values_folded_total",
            "Observations counted as 'other', as their metric had too many label values.",
            ("metric",),
        )
        _all.add(self)

    def families(self) -> tuple[Family, ...]:
        """All there are, in the order they were made in."""
        return (*self._counted, *self._gauges)

    def counter(self, name: str, text: str, labels: Labels = (), free: Labels = ()) -> Counter:
        """A new counter; `free` names the labels whose values nobody has listed beforehand."""
        made = Counter(f"meshlib_{name}", text, labels, free, self._room)
        self._counted.append(made)
        return made

    def histogram(self, name: str, text: str, labels: Labels, free: Labels = ()) -> Histogram:
        """A new histogram of seconds."""
        made = Histogram(f"meshlib_{name}", text, labels, free, self._room)
        self._counted.append(made)
        return made

    def gauge(self, name: str, text: str, labels: Labels, read: Callable[[], Reading]) -> None:
        """A new gauge, read when somebody looks: `read` must be quick, and not raise."""
        self._gauges.append(Gauge(f"meshlib_{name}", text, labels, read, self._room))

    def forget(self) -> None:
        """Begin anew."""
        for family in self._counted:
            family.forget()


_all: weakref.WeakSet[Registry] = weakref.WeakSet()


def _after_in_child() -> None:
    for registry in tuple(_all):
        registry.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_in_child)
