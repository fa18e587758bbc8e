"""
Counters and histograms: enough of a metrics library, and quick enough for every request.

A *family* is one metric; it has one *child* for each combination of label values.  Observing is one
look into a dictionary and one addition under the child's own lock; text is made when it is asked
for, and not before.

Label values come from outside: whoever can name a host in a URL could make a family grow for ever.
So a family has at most `cap` children.  Beyond that the values of its *free* labels, those that
nobody has listed beforehand, are replaced by `OTHER`, and that is counted in a metric of its own.
When a family is full, children that nothing was added to for `IDLE` seconds make room: versions
come and go, and those of last month are of no use.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import inf
from typing import Generic, TypeVar

from meshlib.observe.metrics.family import Head, Labels, Room, Sample

CAP = 1000
"""Children of a family: 300 services with three outcomes each; at 14 lines a histogram that is a
page of about a megabyte, well below the 10 MB that scrapers are commonly limited to."""

IDLE = 600.0
"""Seconds; linkerd2-proxy forgets metrics after as long."""

OTHER = "other"
"""What gRPC's metrics (A66) call the methods they do not know."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds: those of Prometheus' own clients, and two below them, as a call to a process on
the same machine takes about a millisecond."""


class _Number:
    """The child of a counter."""

    __slots__ = ("lock", "value")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.value: float = 0

    @property
    def activity(self) -> float:
        """Grows with every observation."""
        return self.value

    def samples(self, labels: tuple[tuple[str, str], ...]) -> Iterator[Sample]:
        yield Sample("", labels, self.value)


class _Distribution:
    """The child of a histogram; `counts` has one more place than there are bounds."""

    __slots__ = ("bounds", "counts", "lock", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.lock = threading.Lock()
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    @property
    def activity(self) -> float:
        """Grows with every observation."""
        return sum(self.counts)

    def samples(self, labels: tuple[tuple[str, str], ...]) -> Iterator[Sample]:
        with self.lock:
            counts, total = tuple(self.counts), self.total
        seen = 0
        for bound, count in zip((*self.bounds, inf), counts, strict=True):
            seen += count
            text = "+Inf" if bound == inf else repr(float(bound))
            yield Sample("_bucket", (*labels, ("le", text)), seen)
        yield Sample("_sum", labels, total)
        yield Sample("_count", labels, seen)


ChildT = TypeVar("ChildT", _Number, _Distribution)


class _Children(Generic[ChildT]):
    """What counters and histograms have in common: children, made as they are needed."""

    def __init__(self, head: Head, free: Labels, room: Room, make: Callable[[], ChildT]) -> None:
        self.name, self.kind, self.help, self.labels = head
        self._free = tuple(label in free for label in self.labels)
        self._room = room
        self._make: Callable[[], ChildT] = make
        self._children: dict[Labels, ChildT] = {}
        self._others: set[Labels] = set()
        self._marks: dict[Labels, float] = {}
        self._swept = -inf
        self._lock = threading.Lock()

    def samples(self) -> Iterator[Sample]:
        """All children, in the order they were made in."""
        for values, child in tuple(self._children.items()):
            yield from child.samples(tuple(zip(self.labels, values, strict=True)))

    def forget(self) -> None:
        """Begin anew, as a forked process does: what its parent counted is the parent's."""
        self._lock = threading.Lock()
        self._children, self._marks, self._others = {}, {}, set()

    def _new(self, values: Labels) -> ChildT:
        """The child for values that have none yet: a new one, if there is room."""
        with self._lock:
            found = self._children.get(values)
            if found is not None:
                return found
            if self._full() and self._due():
                self._sweep()
            if self._full() and any(self._free):
                values = self._folded(values)
                self._room.folded(self.name)
                self._others.add(values)
            child = self._children.get(values)
            if child is None:
                child = self._children[values] = self._make()
            return child

    def _full(self) -> bool:
        return len(self._children) - len(self._others) >= self._room.cap

    def _due(self) -> bool:
        return self._room.clock() - self._swept >= IDLE

    def _folded(self, values: Labels) -> Labels:
        pairs = zip(values, self._free, strict=True)
        return tuple(OTHER if free else value for value, free in pairs)

    def _sweep(self) -> None:
        """Forget who has not moved since the last sweep, at least `IDLE` seconds ago.

        Of an observation on its way to a child that is being forgotten, nothing remains.
        """
        self._swept = self._room.clock()
        moved = {
            values: child
            for values, child in self._children.items()
            if values in self._others or self._marks.get(values) != child.activity
        }
        self._children = moved
        self._marks = {values: child.activity for values, child in moved.items()}


class Counter(_Children[_Number]):
    """Only grows."""

    def __init__(self, name: str, text: str, labels: Labels, free: Labels, room: Room) -> None:
        super().__init__(Head(name, "counter", text, labels), free, room, _Number)

    def add(self, values: Labels, amount: float = 1) -> None:
        """Count; `values` are those of the labels, in their order."""
        try:
            child = self._children[values]
        except KeyError:
            child = self._new(values)
        with child.lock:
            child.value += amount

    def total(self) -> float:
        """Over all children."""
        return sum(child.value for child in tuple(self._children.values()))


class Histogram(_Children[_Distribution]):
    """How many were at most so large."""

    def __init__(self, name: str, text: str, labels: Labels, free: Labels, room: Room) -> None:
        head = Head(name, "histogram", text, labels)
        super().__init__(head, free, room, partial(_Distribution, SECONDS))

    def observe(self, values: Labels, amount: float) -> None:
        """Count one of this size; `values` are those of the labels, in their order."""
        try:
            child = self._children[values]
        except KeyError:
            child = self._new(values)
        with child.lock:
            child.counts[bisect_left(child.bounds, amount)] += 1
            child.total += amount
