"""
`Watch[T]`: a value that one writer replaces and anybody reads.

Reading is one attribute load, without a lock.  Subscribers are told *that* the value changed, not
to what: they read it themselves, so that two racing notifications can never install the older
value last.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")


class Watch(Generic[T]):
    """The latest value of something that changes.

    `value` before the first `set` is whatever the watch was made with, and `ready` is false.
    """

    __slots__ = ("_lock", "_subscribers", "ready", "value")

    def __init__(self, value: T, *, ready: bool = False) -> None:
        self.value: T = value
        self.ready = ready
        self._subscribers: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def set(self, value: T) -> bool:
        """Replace the value and tell the subscribers; an equal value is dropped (returns False)."""
        with self._lock:
            if self.ready and value == self.value:
                return False
            self.value = value
            self.ready = True
            subscribers = tuple(self._subscribers)
        for callback in subscribers:
            callback()
        return True

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back after every change, and now if there is a value; returns how to stop that."""
        with self._lock:
            self._subscribers.append(callback)
            ready = self.ready
        if ready:
            callback()

        def unsubscribe() -> None:
            with self._lock:
                if callback in self._subscribers:
                    self._subscribers.remove(callback)

        return unsubscribe

    def map(self, function: Callable[[T], U]) -> Watch[U]:
        """A watch of what `function` makes of this one's values."""
        derived = Watch(function(self.value))
        one_at_a_time = threading.Lock()

        def follow() -> None:
            with one_at_a_time:
                derived.set(function(self.value))

        self.subscribe(follow)
        return derived

    def __repr__(self) -> str:
        return f"<Watch {self.value!r}{'' if self.ready else ' (not set)'}>"
