"""What is made of settings, remembered as long as they stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Made = TypeVar("Made")
Settings = TypeVar("Settings")


class Compiled(Generic[Settings, Made]):
    """`make(settings)`, made anew when it is asked for with other settings than last time.

    Two threads may both make it; either result is right, as it depends on the settings alone.
    """

    __slots__ = ("_last", "_make")

    def __init__(self, make: Callable[[Settings], Made]) -> None:
        self._make = make
        self._last: tuple[Settings, Made] | None = None

    def __call__(self, settings: Settings) -> Made:
        """What `settings` make: one comparison of identities, mostly."""
        last = self._last
        if last is None or last[0] is not settings:
            last = self._last = (settings, self._make(settings))
        return last[1]
