"""What calls of a `grpc.Channel` return while they go on."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from types import TracebackType
from typing import Any, Self

import grpc
from grpc import StatusCode

from meshlib.adapters.grpc.bases import Call
from meshlib.adapters.grpc.bases import Future as FutureBase
from meshlib.adapters.grpc.errors import ERRORS, Failed, cancelled
from meshlib.adapters.grpc.handle import Handle
from meshlib.adapters.grpc.over import Finished, Over
from meshlib.adapters.grpc.replies import RpcReply
from meshlib.adapters.grpc.rpc import Metadata
from meshlib.errors import MeshError
from meshlib.runtime import run_sync


class _Going(Call):
    """A call that another thread drives; `_outcome` is what it comes to."""

    def __init__(self, handle: Handle, timeout: float | None) -> None:
        self._handle = handle
        self._until = None if timeout is None else time.monotonic() + timeout
        self._outcome: Future[Any] = Future()

    def cancel(self) -> bool:
        """Want it no more; whether that was in time."""
        if self._outcome.done():
            return False
        self._handle.cancel()
        self.settle(cancelled())
        return True

    def settle(self, outcome: Any) -> None:
        """It has come to this, unless it was cancelled before."""
        with contextlib.suppress(InvalidStateError):
            self._outcome.set_result(outcome)
        self._handle.over()

    def is_active(self) -> bool:
        """Whether it goes on."""
        return not self._outcome.done()

    def time_remaining(self) -> float | None:
        """Seconds until its deadline; None without one."""
        return None if self._until is None else max(self._until - time.monotonic(), 0.0)

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Have it called at the end; False: that was before."""
        if self._outcome.done():
            return False
        self._outcome.add_done_callback(lambda _: callback())
        return True

    def _over(self) -> Over:
        over: Over = self._outcome.result()
        return over

    def code(self) -> StatusCode:
        """How it ended; waits for that."""
        return self._over().code()

    def details(self) -> str:
        """What was said about it; waits for that."""
        return self._over().details()

    def debug_error_string(self) -> str:
        """Code and details, for logs."""
        return self._over().debug_error_string()

    def initial_metadata(self) -> Metadata:
        """What the server said before; waits for that."""
        return self._over().initial_metadata()

    def trailing_metadata(self) -> Metadata:
        """What the server said at the end; waits for that."""
        return self._over().trailing_metadata()


class FutureCall(_Going, FutureBase):
    """What `.future()` returns."""

    def cancelled(self) -> bool:
        """Whether `cancel` was in time."""
        return self._outcome.done() and self._handle.cancelled

    def running(self) -> bool:
        """Whether it goes on."""
        return not self._outcome.done()

    def done(self) -> bool:
        """Whether it is over."""
        return self._outcome.done()

    def result(self, timeout: float | None = None) -> Any:
        """The message.

        Raises what the call ended with, FutureTimeoutError and FutureCancelledError.
        """
        return self._after(timeout).result()

    def exception(self, timeout: float | None = None) -> Exception | None:
        """What the call ended with, None if well; raises as `result` does of the future itself."""
        return self._after(timeout).exception()

    def traceback(self, timeout: float | None = None) -> TracebackType | None:
        """Where that was raised."""
        return self._after(timeout).traceback()

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        """Have it called with this future at the end, or now."""
        self._outcome.add_done_callback(lambda _: fn(self))

    def _after(self, timeout: float | None) -> Over:
        try:
            over: Over = self._outcome.result(timeout)
        except TimeoutError as exc:
            raise grpc.FutureTimeoutError from exc
        if self._handle.cancelled:
            raise grpc.FutureCancelledError
        return over


class StreamCall(_Going):
    """What a method that streams responses returns: the call, and an iterator of its messages."""

    def __init__(
        self, handle: Handle, timeout: float | None, deserialize: Callable[[bytes], Any]
    ) -> None:
        super().__init__(handle, timeout)
        self._deserialize = deserialize
        self._begun: Future[RpcReply | Failed] = Future()
        self._parts: Iterator[bytes] | None = None
        self._reading = threading.Lock()

    def begin(self, outcome: RpcReply | Failed) -> None:
        """The reply is there, or will never be."""
        self._begun.set_result(outcome)
        if isinstance(outcome, Failed):
            self.settle(outcome)
        elif self._outcome.done():  # it was cancelled meanwhile
            run_sync(outcome.discard())
        else:
            self._handle.over()

    def cancel(self) -> bool:
        """Want no more of it; whether that was in time."""
        if not super().cancel():
            return False
        begun = self._begun.result() if self._begun.done() else None
        if isinstance(begun, RpcReply):
            run_sync(begun.discard())
        return True

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        begun = self._begun.result() if not self._outcome.done() else None
        if isinstance(begun, RpcReply):
            with self._reading:
                part = self._next(begun)
            if part is not None:
                return self._deserialize(part)
        over = self._over()
        if isinstance(over, Failed):
            raise over
        raise StopIteration

    def _next(self, reply: Any) -> bytes | None:
        if self._parts is None:
            self._parts = iter(reply) if reply.content is None else iter(_all_of(reply))
        try:
            part = next(self._parts, None)
        except MeshError as exc:
            error: Any = ERRORS.translated(exc)
            self.settle(error)
            raise error from exc
        if part is None:
            self.settle(finished(reply, None))
        return part

    def initial_metadata(self) -> Metadata:
        """What the server said before; waits for that, and has the call tried no more."""
        inner = self._handle.on_the_wire()
        if inner is None or self._begun.done():
            begun = self._begun.result()
            return begun.initial if isinstance(begun, RpcReply) else begun.initial_metadata()
        said: Metadata = inner.initial_metadata() or ()
        return said


def _all_of(reply: RpcReply) -> tuple[bytes, ...]:
    return (reply.content,) if reply.content else ()


def finished(reply: RpcReply, message: Any) -> Over:
    """How a call with this reply ended."""
    return Finished(reply, message) if reply.code is StatusCode.OK else Failed(reply)
