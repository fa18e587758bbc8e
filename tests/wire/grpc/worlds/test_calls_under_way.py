"""Calls that go on, of a synchronous channel of grpcio's and of ours: the same."""

from __future__ import annotations

import threading

import grpc
import pytest

PATIENCE = 20.0
NOT_FOUND = grpc.StatusCode.NOT_FOUND
CANCELLED = grpc.StatusCode.CANCELLED


def test_a_future_is_cancelled_once(server, play):
    """It says so of itself, its callbacks are called once, and asking for more is in vain."""
    server.answer = server.hold
    future, told, heard = play.future(b""), [], threading.Semaphore(0)

    def hear(ended):
        told.append(ended)
        heard.release()

    future.add_done_callback(hear)
    assert (True, False, False) == (future.running(), future.done(), future.cancelled())
    assert future.is_active()
    assert server.asked.acquire(timeout=PATIENCE)
    assert future.cancel()
    assert server.gone.wait(PATIENCE)
    assert (CANCELLED, "Locally cancelled by application!") == (future.code(), future.details())
    assert (False, True, True) == (future.running(), future.done(), future.cancelled())
    for ask in (future.result, future.exception, future.traceback):
        with pytest.raises(grpc.FutureCancelledError):
            ask(PATIENCE)
    assert heard.acquire(timeout=PATIENCE)
    future.add_done_callback(hear)
    assert heard.acquire(timeout=PATIENCE)
    assert [future, future] == told
    assert ((), ()) == (tuple(future.initial_metadata()), tuple(future.trailing_metadata()))


def test_a_future_that_is_waited_for(server, play):
    """A wait that is too short says so, and changes nothing."""
    server.answer = lambda request, context: server.gone.wait(PATIENCE) and b"late"
    future = play.future(b"")
    for ask in (future.result, future.exception, future.traceback):
        with pytest.raises(grpc.FutureTimeoutError):
            ask(0.01)
    server.gone.set()
    assert (b"late", None, None) == (future.result(), future.exception(), future.traceback())
    assert not future.cancel()
    assert (False, True) == (future.cancelled(), future.done())


def test_a_future_that_fails(server, play):
    """The error is raised, or handed over, and the call has its code."""
    server.saying(code=NOT_FOUND, details="gone", trailing_metadata=(("t", "1"),))
    future = play.future(b"")
    with pytest.raises(grpc.RpcError) as caught:
        future.result(PATIENCE)
    assert (NOT_FOUND, "gone") == (caught.value.code(), caught.value.details())
    assert NOT_FOUND is future.exception().code()
    assert future.traceback() is not None
    assert [("t", "1")] == [tuple(pair) for pair in future.trailing_metadata()]
    assert not future.cancelled()


def test_the_time_a_future_has(server, play):
    """Seconds from its timeout, None without one; callbacks are told of the end."""
    server.answer = lambda request, context: server.gone.wait(PATIENCE) and b"late"
    bounded, free = play.future(b"", timeout=100), play.future(b"")
    ended = threading.Event()
    assert bounded.add_callback(ended.set)
    assert 90 < bounded.time_remaining() <= 100
    assert free.time_remaining() is None
    server.gone.set()
    assert b"late" == bounded.result(PATIENCE)
    assert ended.wait(PATIENCE)
    assert not bounded.add_callback(ended.set)


def test_callbacks_that_raise(server, play):
    """One of them takes nothing from the others, nor from the call."""
    server.saying()
    future, told = play.future(b""), threading.Event()
    future.add_done_callback(lambda _: 1 // 0)
    future.add_done_callback(lambda _: told.set())
    assert told.wait(PATIENCE)
    assert b"well" == future.result(PATIENCE)


def test_a_stream_is_cancelled(server, many):
    """What follows is CANCELLED, and the server hears of it."""
    server.answer = server.hold
    call = many(b"1")
    assert b"0" == next(call)
    assert server.holds.wait(PATIENCE)
    assert call.is_active()
    call.cancel()
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    assert CANCELLED is caught.value.code()
    assert CANCELLED is call.code()
    assert not call.is_active()
    assert server.gone.wait(PATIENCE)


@pytest.mark.parametrize("messages", [0, 1])
def test_a_reader_in_another_thread(server, many, messages):
    """A stream is cancelled by whoever has it, also before its first message."""
    server.answer = server.hold
    call, ends = many(str(messages).encode()), []

    def read():
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
        ends.append(caught.value.code())

    reading = threading.Thread(target=read)
    reading.start()
    assert server.holds.wait(PATIENCE)
    call.cancel()
    reading.join(PATIENCE)
    assert [CANCELLED] == ends
    assert server.gone.wait(PATIENCE)


def test_a_conversation_that_waits_for_its_deadline(server, channel):
    """A stream of requests that never ends is ended by the time it has."""
    fed = threading.Event()

    def requests():
        yield b"a"
        fed.wait(PATIENCE)

    call = channel.stream_stream("/t.T/Chat")(requests(), timeout=0.3)
    assert b"you said a" == next(call)
    with pytest.raises(grpc.RpcError) as caught:
        next(call)
    assert grpc.StatusCode.DEADLINE_EXCEEDED is caught.value.code()
    fed.set()


def test_a_stream_says_what_it_is_before_its_messages(server, many):
    """Initial metadata is there as soon as the server has sent it."""

    def first(request, context):
        context.send_initial_metadata((("i", "1"),))
        server.hold(request, context)

    server.answer = first
    call = many(b"0")
    assert [("i", "1")] == [tuple(pair) for pair in call.initial_metadata()]
    call.cancel()
    assert server.gone.wait(PATIENCE)


def test_a_conversation_is_cancelled(server, channel):
    """Whoever feeds a stream that has ended is let go."""
    fed, done = threading.Event(), threading.Event()

    def requests():
        try:
            yield b"a"
            fed.wait(PATIENCE)
            yield b"b"
        finally:
            done.set()

    call = channel.stream_stream("/t.T/Chat")(requests())
    assert b"you said a" == next(call)
    call.cancel()
    fed.set()
    with pytest.raises(grpc.RpcError):
        list(call)
    assert CANCELLED is call.code()


def test_requests_that_fail(channel):
    """What the user's own iterator raises ends the call as UNKNOWN."""

    def requests():
        yield b"a"
        raise RuntimeError("mine")

    with pytest.raises(grpc.RpcError) as caught:
        channel.stream_unary("/t.T/Join")(requests())
    assert grpc.StatusCode.UNKNOWN is caught.value.code()
    assert "Exception iterating requests!" == caught.value.details()


def test_a_channel_that_is_closed_takes_no_calls(world):
    """All of them are refused where they are made."""
    channel = world.open()
    play, many = channel.unary_unary("/t.T/Play"), channel.unary_stream("/t.T/Many")
    channel.close()
    channel.close()
    for call in (play, play.with_call, play.future, many):
        with pytest.raises(ValueError, match="Cannot invoke RPC"):
            call(b"")


def test_calls_under_way_end_with_the_channel(world, server):
    """`close` "immediately terminates all RPCs active with the channel", says grpcio."""
    server.answer = server.hold
    channel = world.open()
    future = channel.unary_unary("/t.T/Play").future(b"")
    assert server.asked.acquire(timeout=PATIENCE)
    stream = channel.unary_stream("/t.T/Many")(b"1")
    assert b"0" == next(stream)
    assert server.holds.wait(PATIENCE)
    channel.close()
    for call in (future, stream):
        assert CANCELLED is call.code()
        assert "Channel closed!" in call.details()
    with pytest.raises(grpc.RpcError):
        future.result(PATIENCE)
    with pytest.raises(grpc.RpcError):
        next(stream)
    assert server.gone.wait(PATIENCE)


def test_a_thread_that_waits_hears_of_the_channels_end(world, server):
    """A blocking call is ended as well."""
    server.answer = server.hold
    channel, codes = world.open(), []

    def wait():
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/t.T/Play")(b"")
        codes.append(caught.value.code())

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert server.asked.acquire(timeout=PATIENCE)
    channel.close()
    waiting.join(PATIENCE)
    assert [CANCELLED] == codes


def test_a_channel_is_ready(meshed):
    """`channel_ready_future` and `subscribe` say READY until it is closed; SHUTDOWN then."""
    with meshed.open() as channel:
        grpc.channel_ready_future(channel).result(PATIENCE)
        seen, gone = [], []
        channel.subscribe(seen.append, try_to_connect=True)
        channel.subscribe(gone.append)
        channel.unsubscribe(gone.append)
    states = grpc.ChannelConnectivity
    assert [states.READY, states.SHUTDOWN] == seen
    assert [states.READY] == gone
