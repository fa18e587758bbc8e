"""
Requests are followed into threads.

Asyncio hands a request's context on to tasks and to `asyncio.to_thread`; a thread and the job of an
executor begin with none.  While `install` is in force, those started while a request is served run
in a copy of its context, so that deadline, retry credit, priority, trace and baggage hold for the
calls they make (opentelemetry-instrumentation-threading does the same for traces).  Whoever starts
a thread outside of any request notices nothing.

A thread may outlive its request: `meshlib.context` knows when that has ended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import Context, copy_context
from functools import wraps
from typing import Any, TypeVar

from meshlib.context import current

T = TypeVar("T")

OURS = "meshlib-"
"""How the names of the mesh's own threads begin: they serve the process, not the request that came
first."""

_changing = threading.Lock()
_native: list[tuple[type, str, Any, Any]] = []
"""What was wrapped: its class and name, what was there, what is there now."""


def install() -> None:
    """Follow requests from now on; a second call does nothing."""
    with _changing:
        if not _native:
            _put(threading.Thread, "start", _started(threading.Thread.start))
            _put(ThreadPoolExecutor, "submit", _submitted(ThreadPoolExecutor.submit))


def uninstall() -> None:
    """Follow them no longer; what others have wrapped meanwhile stays wrapped."""
    with _changing:
        while _native:
            kind, name, before, ours = _native.pop()
            if getattr(kind, name) is ours:
                setattr(kind, name, before)


def installed() -> bool:
    """Whether requests are followed."""
    return bool(_native)


def _put(kind: type, name: str, ours: Any) -> None:
    _native.append((kind, name, getattr(kind, name), ours))
    setattr(kind, name, ours)


def _started(start: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    @wraps(start)
    def start_in_context(thread: threading.Thread) -> None:
        if current() is not None and installed() and not thread.name.startswith(OURS):
            _carry(thread, copy_context())
        start(thread)

    return start_in_context


def _carry(thread: threading.Thread, context: Context) -> None:
    """Have the thread, of whatever class, run in `context`."""
    run = thread.run

    def run_in_context() -> None:
        del thread.run  # the instance's own, which refers to the thread
        context.run(run)

    thread.run = run_in_context  # type: ignore[method-assign]


def _submitted(submit: Callable[..., Future[T]]) -> Callable[..., Future[T]]:
    @wraps(submit)
    def submit_with_context(
        pool: ThreadPoolExecutor, fn: Callable[..., T], /, *args: Any, **kwargs: Any
    ) -> Future[T]:
        if current() is None or not installed():
            return submit(pool, fn, *args, **kwargs)
        # a thread that the pool starts now will serve other requests: it gets no context at all
        job = copy_context().run
        return Context().run(submit, pool, job, fn, *args, **kwargs)

    return submit_with_context
