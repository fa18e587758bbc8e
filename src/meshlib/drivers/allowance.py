"""The time there is."""

from __future__ import annotations

from meshlib.context import deadline
from meshlib.errors import DeadlineExceeded


def seconds_left(what: str) -> float | None:
    """Seconds until the deadline, more than 0; None without one.  Raises DeadlineExceeded.

    `what` is about to be done: "a query".
    """
    left = deadline()
    if left is None or left > 0:
        return left
    raise DeadlineExceeded(
        f"{what} was not begun",
        why="the deadline of the request being served has passed: its caller waits no longer",
    )


def milliseconds_left(what: str) -> int | None:
    """The same in whole milliseconds, at least 1: to most drivers 0 means for ever."""
    left = seconds_left(what)
    return None if left is None else max(int(left * 1000), 1)
