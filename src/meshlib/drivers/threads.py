"""
The deadline across threads: handed to the work, and kept by who waits for it.

A pool's thread does not know the request it works for, as `Executor.submit` leaves the context
behind.  `submit` takes it along, so that the calls made there have the request's deadline, spend
its credit and continue its trace.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextvars import copy_context
from typing import ParamSpec, TypeVar

from meshlib.drivers.allowance import seconds_left
from meshlib.errors import DeadlineExceeded

T = TypeVar("T")
P = ParamSpec("P")


def submit(
    executor: Executor, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> Future[T]:
    """Like `executor.submit`, in the context of the request being served.

    Raises DeadlineExceeded if nobody waits for it any more.
    """
    seconds_left("work for a pool")
    context = copy_context()
    return executor.submit(lambda: context.run(function, *args, **kwargs))


def result(future: Future[T]) -> T:
    """What comes of it, waiting no longer than the deadline; then it is cancelled, if it can be.

    Raises DeadlineExceeded, or what the work raised.  Work that has begun goes on: a thread cannot
    be stopped from outside.
    """
    left = seconds_left("waiting for a pool")
    try:
        return future.result(left)
    except TimeoutError as exc:
        if future.done():
            raise  # it is the work's own
        future.cancel()
        raise DeadlineExceeded(
            "a pool's thread did not finish in time",
            why="the deadline of the request being served has passed",
        ) from exc
