"""Calls that go on, of an asynchronous channel of grpcio's and of ours: the same."""

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


def test_a_call_is_cancelled_once(on, server):
    """It says so of itself, its callbacks are called once, and whoever awaits it is told."""
    server.answer = server.hold

    async def test(channel):
        call, told = channel.unary_unary("/t.T/Play")(b""), []
        call.add_done_callback(told.append)
        await until(server.asked.acquire)
        assert (False, False) == (call.done(), call.cancelled())
        assert (True, False) == (call.cancel(), call.cancel())
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (True, True) == (call.done(), call.cancelled())
        assert (CANCELLED, 1) == (await call.code(), len(told))
        await until(server.gone.wait)
        return await call.details(), pairs(await call.trailing_metadata())

    assert ("Locally cancelled by application!", []) == on(test)


def test_a_call_cancelled_before_it_begins(on, server):
    """Nothing is asked of the server."""
    server.saying()

    async def test(channel):
        call = channel.unary_unary("/t.T/Play")(b"")
        assert call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        return call.cancelled(), await call.code()

    assert (True, CANCELLED) == on(test)
    assert [] == server.metadata


def test_a_call_that_is_over(on, server):
    """It may be awaited again, cannot be cancelled, and calls back at once."""
    server.saying()

    async def test(channel):
        call = channel.unary_unary("/t.T/Play")(b"")
        assert b"well" == await call == await call
        told_, again = asyncio.Event(), call.cancel()
        call.add_done_callback(lambda _: told_.set())
        await told_.wait()
        return again, call.done(), call.cancelled()

    assert (False, True, False) == on(test)


def test_an_error_that_is_awaited_twice(on, server):
    """It is raised each time."""
    server.saying(code=NOT_FOUND, details="gone")

    async def test(channel):
        call, codes = channel.unary_unary("/t.T/Play")(b""), []
        for _ in range(2):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            codes.append(caught.value.code())
        return codes

    assert [NOT_FOUND, NOT_FOUND] == on(test)


def test_the_time_a_call_has(on, server):
    """Seconds from its timeout, None without one."""
    server.saying()

    async def test(channel):
        play = channel.unary_unary("/t.T/Play")
        bounded, free = play(b"", timeout=100), play(b"")
        assert 90 < bounded.time_remaining() <= 100
        assert free.time_remaining() is None
        await asyncio.gather(bounded, free)

    on(test)


def test_a_stream_is_cancelled(on, server):
    """Whoever reads it is told, and so is the server."""
    server.answer = server.hold

    async def test(channel):
        call = channel.unary_stream("/t.T/Many")(b"1")
        assert b"0" == await call.read()
        await until(server.holds.wait)
        assert call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call.read()
        await until(server.gone.wait)
        return await call.code(), call.cancelled()

    assert (CANCELLED, True) == on(test)


def test_a_reader_is_cancelled(on_meshed, server):
    """A task that is cancelled while it reads cancels its call."""
    server.answer = server.hold

    async def test(channel):
        call = channel.unary_stream("/t.T/Many")(b"1")
        assert b"0" == await call.read()
        await until(server.holds.wait)
        reading = asyncio.ensure_future(call.read())
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await until(server.gone.wait)
        return await call.code()

    assert CANCELLED is on_meshed(test)


def test_a_time_for_a_reader(on, server):
    """`asyncio.timeout` around an unary call ends it, as TimeoutError."""
    server.answer = server.hold

    async def test(channel):
        call = channel.unary_unary("/t.T/Play")(b"")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await call
        await until(server.gone.wait)
        return await call.code()

    assert CANCELLED is on(test)


def test_a_conversation(on, server):
    """Nothing is written after the end of writing."""

    async def test(channel):
        call = channel.stream_stream("/t.T/Chat")()
        await call.write(b"a")
        assert b"you said a" == await call.read()
        await call.done_writing()
        with pytest.raises(asyncio.InvalidStateError):
            await call.write(b"b")
        assert await call.read() is grpc.aio.EOF
        return await call.code()

    assert OK is on(test)


def test_a_sum_by_writing(on):
    """A stream of requests is written, and its answer awaited."""

    async def test(channel):
        call = channel.stream_unary("/t.T/Join")()
        for word in (b"a", b"b"):
            await call.write(word)
        await call.done_writing()
        return await call

    assert b"a+b" == on(test)


def test_requests_by_any_iterator(on):
    """Plain iterables and asynchronous ones are taken; theirs cannot be written to."""

    async def words():
        yield b"a"
        yield b"b"

    async def test(channel):
        join = channel.stream_unary("/t.T/Join")
        call = join([b"a", b"b"])
        with pytest.raises(grpc.aio.UsageError):
            await call.write(b"c")
        return await call, await join(words()), await join(request_iterator=words())

    assert (b"a+b",) * 3 == on(test)


def test_a_channel_that_is_closed_takes_no_calls(on):
    """They are refused where they are made, or awaited."""

    async def test(channel):
        play = channel.unary_unary("/t.T/Play")
        await channel.close()
        await channel.close()
        with pytest.raises((grpc.aio.UsageError, asyncio.CancelledError)):
            await play(b"")

    on(test)


def test_calls_under_way_end_with_the_channel(on, server):
    """Without a grace they are cancelled at once."""
    server.answer = server.hold

    async def test(channel):
        unary = channel.unary_unary("/t.T/Play")(b"")
        await until(server.asked.acquire)
        stream = channel.unary_stream("/t.T/Many")(b"1")
        assert b"0" == await stream.read()
        await until(server.holds.wait)
        await channel.close()
        await until(server.gone.wait)
        return [await call.code() for call in (unary, stream)]

    assert [CANCELLED, CANCELLED] == on(test)


def test_a_grace(on, server):
    """Calls that end within it end well; nobody waits longer than they do."""
    server.answer = lambda request, context: server.gone.wait(PATIENCE) and b"late"

    async def test(channel):
        call = channel.unary_unary("/t.T/Play")(b"")
        await until(server.asked.acquire)
        closing = asyncio.ensure_future(channel.close(PATIENCE))
        await asyncio.sleep(0)
        server.gone.set()
        await closing
        return await call

    assert b"late" == on(test)
