"""What stands before a handler that runs in an event loop; see `rpcs` for what is asked."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from meshlib.serve.admission import Refusal
from meshlib.serve.grpc.contexts import LoopContext, finish, refuse
from meshlib.serve.grpc.handlers import Behavior, Method, Wrapped
from meshlib.serve.grpc.health import Fallback
from meshlib.serve.grpc.metadata import stripped
from meshlib.serve.grpc.rpcs import Desk, Rpc
from meshlib.serve.grpc.threads import Threads
from meshlib.serve.limits import Gate


class LoopInterceptor(grpc.aio.ServerInterceptor):
    """Stands before all others, in a `grpc.aio.Server`."""

    def __init__(self, desk: Desk, fallback: Fallback) -> None:
        self._wrapped = Wrapped(Loops(desk).around)
        self._fallback = fallback

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: Any
    ) -> Any:
        """The method's handler, guarded; where there is none, the mesh's own."""
        method = details.method
        handler = await continuation(stripped(details))
        if handler is None:
            return self._fallback(method)
        return self._wrapped(method, handler)


class Loops:
    """Guards behaviors that are coroutines; those that are not run in threads, also in a loop."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._threads = desk, Threads(desk)

    def around(self, method: Method) -> Behavior:
        """What is done in place of what the method does."""
        if inspect.isasyncgenfunction(method.behavior):
            return self._generating(method)
        if inspect.iscoroutinefunction(method.behavior):
            return self._awaiting(method)
        return self._threads.around(method)

    def admitted(self, method: Method) -> Behavior:
        """The same for methods of the mesh's own, which whoever is admitted may call."""

        async def admitted(request: Any, context: Any) -> Any:
            refusal = self._desk.admit(method.path, context)
            if isinstance(refusal, Refusal):
                raise await _refused(context, refusal)
            return await method.behavior(method.decode(request), context)

        return admitted

    def _awaiting(self, method: Method) -> Behavior:
        async def awaiting(request: Any, context: Any) -> Any:
            connection = self._desk.admit(method.path, context)
            if isinstance(connection, Refusal):
                raise await _refused(context, connection)
            async with _Served(Rpc(self._desk, method.path, connection, context), context) as ours:
                return await method.behavior(method.decode(request), ours)

        return awaiting

    def _generating(self, method: Method) -> Behavior:
        # no generator itself: a generator that is given up ends whenever and wherever it is found
        async def generating(request: Any, context: Any) -> None:
            connection = self._desk.admit(method.path, context)
            if isinstance(connection, Refusal):
                raise await _refused(context, connection)
            async with _Served(Rpc(self._desk, method.path, connection, context), context) as ours:
                answers = method.behavior(method.decode(request), ours)
                try:
                    async for answer in answers:
                        await context.write(answer)
                finally:
                    await answers.aclose()

        return generating


class _Served:
    """One RPC in its task; entering it raises what grpcio's `abort` does, if it is refused."""

    __slots__ = ("_inner", "_rpc")

    def __init__(self, rpc: Rpc, context: Any) -> None:
        self._rpc, self._inner = rpc, context

    async def __aenter__(self) -> LoopContext:
        context = LoopContext(self._inner, self._rpc)
        try:
            refusal = self._rpc.refusal()
            if refusal is None and self._rpc.gated is not None:
                refusal = await self._refused_a_place(self._rpc.gated)
            if refusal is not None:
                await refuse(context, refusal)
        except BaseException as error:
            self._end(error)
            raise
        return context

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._end(error)

    async def _refused_a_place(self, gate: Gate) -> Refusal | None:
        if gate.sensor is not None:
            gate.sensor.watch_loop()
        return self._rpc.place(gate, await gate.turned_by_all_async(self._rpc.visitor))

    def _end(self, error: BaseException | None) -> None:
        finish(self._inner, self._rpc, error, gone=isinstance(error, asyncio.CancelledError))


async def _refused(context: Any, refusal: Refusal) -> AssertionError:
    await refuse(context, refusal)
    return AssertionError()  # not reached: `abort` raises
