"""Interceptors of an asynchronous channel of grpcio's and of ours: the same."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import pytest

PATIENCE = 20.0
NOT_FOUND = grpc.StatusCode.NOT_FOUND
CANCELLED = grpc.StatusCode.CANCELLED
OK = grpc.StatusCode.OK


def pairs(metadata):
    """Metadata as plain pairs."""
    return [(key, value) for key, value in metadata]


async def until(wait):
    """Wait, beside the loop, for what the server does."""
    waiting = asyncio.get_running_loop().run_in_executor(None, lambda: wait(timeout=PATIENCE))
    assert await waiting


class Every(
    grpc.aio.UnaryUnaryClientInterceptor,
    grpc.aio.UnaryStreamClientInterceptor,
    grpc.aio.StreamUnaryClientInterceptor,
    grpc.aio.StreamStreamClientInterceptor,
):
    """Adds metadata to calls of every shape, and remembers what it saw."""

    def __init__(self, name):
        self.name, self.seen = name, []

    async def intercept(self, proceed, details, request):
        self.seen.append((details.method, details.timeout, details.wait_for_ready))
        metadata = grpc.aio.Metadata(*(details.metadata or ()), ("via", self.name))
        return await proceed(details._replace(metadata=metadata), request)

    intercept_unary_unary = intercept_unary_stream = intercept
    intercept_stream_unary = intercept_stream_stream = intercept


class One(grpc.aio.UnaryUnaryClientInterceptor):
    """`intercept` is what the test says."""

    def __init__(self, intercept):
        self._intercept = intercept

    async def intercept_unary_unary(self, proceed, details, request):
        return await self._intercept(proceed, details, request)


@pytest.mark.parametrize(
    ("shape", "method", "request_", "expected"),
    [
        ("unary_unary", "Echo", b"a", b"a"),
        ("unary_stream", "Many", b"2", [b"0", b"1"]),
        ("stream_unary", "Join", [b"a", b"b"], b"a+b"),
        ("stream_stream", "Chat", [b"a"], [b"you said a"]),
    ],
)
def test_interceptors_of_every_shape(on, server, shape, method, request_, expected):
    """The first stands outermost; what they add arrives in order, and the timeout is told.

    grpcio takes an interceptor of several shapes for the first of them only.
    """
    kinds = {
        "unary_unary": grpc.aio.UnaryUnaryClientInterceptor,
        "unary_stream": grpc.aio.UnaryStreamClientInterceptor,
        "stream_unary": grpc.aio.StreamUnaryClientInterceptor,
        "stream_stream": grpc.aio.StreamStreamClientInterceptor,
    }
    kind = type("Kind", (kinds[shape],), dict(vars(Every)))
    outer, inner = kind("outer"), kind("inner")

    async def test(channel):
        call = getattr(channel, shape)(f"/t.T/{method}")(request_, timeout=PATIENCE)
        answer = [e async for e in call] if isinstance(expected, list) else await call
        return answer, await call.code()

    assert (expected, OK) == on(test, interceptors=[outer, inner])
    assert [("via", "outer"), ("via", "inner")] == server.said("via")
    ((asked, timeout, _),) = inner.seen
    assert (f"/t.T/{method}".encode(), PATIENCE) == (asked, timeout)


def test_an_interceptor_that_answers(on, server):
    """A message of its own is the answer; what it raises is raised."""

    async def instead(proceed, details, request):
        if request == b"raise":
            raise RuntimeError("mine")
        return b"mine"

    async def test(channel):
        play = channel.unary_unary("/t.T/Play")
        with pytest.raises(RuntimeError, match="mine"):
            await play(b"raise")
        call = play(b"")
        return await call, await call.code(), call.done()

    assert (b"mine", OK, True) == on(test, interceptors=[One(instead)])
    assert [] == server.metadata


def test_an_interceptor_that_tries_again(on, server):
    """It may proceed more than once, and look at each outcome."""

    async def twice(proceed, details, request):
        first = await proceed(details, request)
        return await proceed(details, request) if await first.code() is NOT_FOUND else first

    turns = iter([NOT_FOUND, None])

    def answer(request, context):
        code = next(turns)
        if code is not None:
            context.abort(code, "as told")
        return b"well"

    server.answer = answer

    async def test(channel):
        return await channel.unary_unary("/t.T/Play")(b"")

    assert b"well" == on(test, interceptors=[One(twice)])


def test_errors_pass_interceptors(on, server):
    """The caller gets the error raised, with all that was said."""
    server.saying(code=NOT_FOUND, details="gone", trailing_metadata=(("t", "1"),))

    async def through(proceed, details, request):
        return await proceed(details, request)

    async def test(channel):
        call = channel.unary_unary("/t.T/Play")(b"")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert pairs(await call.trailing_metadata()) == pairs(caught.value.trailing_metadata())
        return caught.value.code(), await call.details(), pairs(await call.trailing_metadata())

    assert (NOT_FOUND, "gone", [("t", "1")]) == on(test, interceptors=[One(through)])


def test_cancelling_passes_interceptors(on, server):
    """A call that was intercepted is cancelled like another one."""
    server.answer = server.hold

    async def through(proceed, details, request):
        return await proceed(details, request)

    async def test(channel):
        call = channel.unary_unary("/t.T/Play")(b"")
        await until(server.asked.acquire)
        assert call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(server.gone.wait)
        return call.cancelled(), call.done(), await call.code()

    assert (True, True, CANCELLED) == on(test, interceptors=[One(through)])
