"""What stands before a handler that runs in a thread; see `rpcs` for what is asked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any

import grpc

from meshlib.serve.admission import Refusal
from meshlib.serve.grpc.contexts import ThreadContext, finish, refuse
from meshlib.serve.grpc.handlers import Behavior, Method, Wrapped
from meshlib.serve.grpc.health import Fallback
from meshlib.serve.grpc.metadata import stripped
from meshlib.serve.grpc.rpcs import Desk, Rpc
from meshlib.serve.limits import Gate

log = logging.getLogger("meshlib.serve")

_END = object()
_UNDECODABLE = "Exception deserializing request!"
"""grpcio's words for it."""
_HINTS = ("experimental_non_blocking", "experimental_thread_pool")
"""What grpcio looks for on a behavior."""


class ThreadInterceptor(grpc.ServerInterceptor):
    """Stands before all others, in a `grpc.Server`."""

    def __init__(self, desk: Desk, fallback: Fallback) -> None:
        self._wrapped = Wrapped(Threads(desk).around)
        self._fallback = fallback

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        """The method's handler, guarded; where there is none, the mesh's own."""
        method = details.method
        handler = continuation(stripped(details))
        if handler is None:
            return self._fallback(method)
        return self._wrapped(method, handler)


class Threads:
    """Guards behaviors that block."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def around(self, method: Method) -> Behavior:
        """What is done in place of what the method does."""
        if not method.streams:
            return _hinted(self._unary(method), method)
        if getattr(method.behavior, _HINTS[0], False):
            return _hinted(self._calling_back(method), method)
        return _hinted(self._streaming(method), method)

    def admitted(self, method: Method) -> Behavior:
        """The same for methods of the mesh's own, which whoever is admitted may call."""

        def admitted(request: Any, context: Any, *more: Any) -> Any:
            refusal = self._desk.admit(method.path, context)
            if isinstance(refusal, Refusal):
                raise _refused(context, refusal)
            return method.behavior(method.decode(request), context, *more)

        return _hinted(admitted, method)

    def _unary(self, method: Method) -> Behavior:
        def unary(request: Any, context: Any) -> Any:
            served = _Served(self._desk, method, context)
            try:
                answer = method.behavior(served.decoded(request), served.context)
            except BaseException as error:
                served.end(error)
                raise
            served.end()
            return answer

        return unary

    def _calling_back(self, method: Method) -> Behavior:
        """A stream that goes on when its handler has returned: what is measured is its start."""

        def calling_back(request: Any, context: Any, send: Callable[[Any], None]) -> Any:
            served = _Served(self._desk, method, context)
            try:
                method.behavior(served.decoded(request), served.context, send)
            except BaseException as error:
                served.end(error)
                raise
            served.end()

        return calling_back

    def _streaming(self, method: Method) -> Behavior:
        def streaming(request: Any, context: Any) -> Iterator[Any]:
            # a context of its own: a generator that is given up ends wherever it is found
            run = copy_context().run
            served = run(_Served, self._desk, method, context)
            answers: Any = None
            try:
                answers = iter(run(method.behavior, run(served.decoded, request), served.context))
                while (answer := run(next, answers, _END)) is not _END:
                    yield answer
            except BaseException as error:
                run(_close, answers)
                run(served.end, error)
                raise
            run(served.end)

        return streaming


class _Served:
    """One RPC in its thread.  Making it raises what grpcio's `abort` does, if it is refused."""

    __slots__ = ("_decode", "_inner", "context", "rpc")

    def __init__(self, desk: Desk, method: Method, context: Any) -> None:
        connection = desk.admit(method.path, context)
        if isinstance(connection, Refusal):
            raise _refused(context, connection)
        self._inner, self._decode = context, method.decode
        self.rpc = Rpc(desk, method.path, connection, context)
        self.context = ThreadContext(context, self.rpc)

    def decoded(self, request: Any) -> Any:
        """The request, once it is let in."""
        refusal = self.rpc.refusal()
        if refusal is None and self.rpc.gated is not None:
            refusal = self._refused_a_place(self.rpc.gated)
        if refusal is not None:
            refuse(self.context, refusal)
        try:
            return self._decode(request)
        except Exception:
            log.exception(_UNDECODABLE)
            self.context.abort(grpc.StatusCode.INTERNAL, _UNDECODABLE)
            raise

    def _refused_a_place(self, gate: Gate) -> Refusal | None:
        if gate.sensor is not None:
            gate.sensor.watch_threads()
        return self.rpc.place(gate, gate.turned_by_all(self.rpc.visitor))

    def end(self, error: BaseException | None = None) -> None:
        """The handler is done."""
        finish(self._inner, self.rpc, error, gone=self._gone or isinstance(error, GeneratorExit))

    @property
    def _gone(self) -> bool:
        """Whether nobody waits any more.  In an event loop a thread is not told of it."""
        active = getattr(self._inner, "is_active", None)
        return active is not None and not active()


def _refused(context: Any, refusal: Refusal) -> AssertionError:
    refuse(context, refusal)
    return AssertionError()  # not reached: `abort` raises


def _hinted(guarded: Behavior, method: Method) -> Behavior:
    for name in _HINTS:
        setattr(guarded, name, getattr(method.behavior, name, None))
    return guarded


def _close(answers: Any) -> None:
    close = getattr(answers, "close", None)
    if close is not None:
        close()
