"""What a metric is to whoever writes it down; and gauges, which are nothing more than that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol, TypeAlias

from meshlib.runtime import Clock

Labels: TypeAlias = tuple[str, ...]


class Sample(NamedTuple):
    """One line of the page."""

    suffix: str
    labels: tuple[tuple[str, str], ...]
    value: float


class Family(Protocol):
    """One metric, as whoever writes it down sees it."""

    name: str
    kind: str
    """`counter`, `gauge` or `histogram`."""
    help: str
    labels: Labels
    """The names."""

    def samples(self) -> Iterable[Sample]:
        """All there is, now."""


class Head(NamedTuple):
    """What a family says before its samples."""

    name: str
    kind: str
    help: str
    labels: Labels


class Room:
    """How many children a family may have, and who counts those that found no place."""

    __slots__ = ("cap", "clock", "folded")

    def __init__(self, clock: Clock, cap: int, folded: Callable[[str], None]) -> None:
        self.clock, self.cap, self.folded = clock, cap, folded


Reading: TypeAlias = Iterable[tuple[Labels, float]]


class Gauge:
    """Goes up and down: read from its owner when the page is made, and not kept."""

    def __init__(
        self, name: str, text: str, labels: Labels, read: Callable[[], Reading], room: Room
    ) -> None:
        self.name, self.kind, self.help, self.labels = Head(name, "gauge", text, labels)
        self._read, self._room = read, room

    def samples(self) -> Iterator[Sample]:
        """What is read now; beyond the cap the rest is left out, and counted as folded."""
        for number, (values, value) in enumerate(self._read()):
            if number < self._room.cap:
                yield Sample("", tuple(zip(self.labels, values, strict=True)), value)
            else:
                self._room.folded(self.name)
