"""RPCs of every shape, and what is said beside their messages."""

from __future__ import annotations

import asyncio
import threading

import grpc
import grpc.aio
import pytest

PATIENCE = 20.0


@pytest.mark.parametrize(
    ("method", "shape", "request_", "expected"),
    [
        ("Echo", "unary_unary", b"hello", b"hello"),
        ("Many", "unary_stream", b"3", [b"0", b"1", b"2"]),
        ("Many", "unary_stream", b"0", []),
        ("Join", "stream_unary", [b"a", b"b"], b"a+b"),
        ("Chat", "stream_stream", [b"a", b"b"], [b"you said a", b"you said b"]),
    ],
    ids=["unary-unary", "unary-stream", "empty-stream", "stream-unary", "stream-stream"],
)
def test_every_shape(serve, shop, face, method, shape, request_, expected):
    """One message or many, each way: what is said arrives, in order."""
    shop.bind(serve())
    if isinstance(request_, list):
        request_ = iter(request_)
    assert expected == face.call(method, request_, shape)


def test_metadata_arrives_as_it_was_given(serve, shop, face):
    """Repeated and binary keys reach the server; the mesh's credit is beside them.

    The time left is not: gRPC has a header for it, which grpcio keeps to itself.
    """
    server = serve()
    shop.bind(server)
    face.call("Echo", b"", metadata=(("k", "1"), ("k", "2"), ("b-bin", b"\x00\xff")))
    (said,) = server.metadata
    given = [pair for pair in said if pair[0] in {"k", "b-bin"}]
    assert [("k", "1"), ("k", "2"), ("b-bin", b"\x00\xff")] == given
    assert {"user-agent", "x-mesh-retry-credit"} == dict(said).keys() - {"k", "b-bin"}


def test_a_code_is_an_error_with_all_the_server_said(serve, shop, face, status):
    """Code, details and trailing metadata of a status arrive in the user's own kind of error."""
    server = serve()
    server.answer = status(grpc.StatusCode.NOT_FOUND, ("why", "gone"), ("b-bin", b"\x01"))
    shop.bind(server)
    with pytest.raises(grpc.RpcError) as caught:
        face.call("Play", b"")
    assert grpc.StatusCode.NOT_FOUND is caught.value.code()
    assert "as told" == caught.value.details()
    said = {key: value for key, value in caught.value.trailing_metadata()}  # noqa: C416 - pairs
    assert ("gone", b"\x01") == (said["why"], said["b-bin"])


def test_what_the_mesh_says_to_itself_is_not_shown(serve, shop, face):
    """The credit that comes back with an answer is used, and is nobody's metadata."""
    server = serve()
    server.answer = lambda request, context: (
        context.set_trailing_metadata((("x-mesh-retry-credit", "2"), ("mine", "1"))) or b"well"
    )
    shop.bind(server)
    call = face.begin("Play", b"")
    if isinstance(call, grpc.Call):
        assert b"well" == call.result(PATIENCE)
        said = call.trailing_metadata()
    else:
        said = face.run(call.trailing_metadata())
    assert [("mine", "1")] == [tuple(pair) for pair in said]


def test_a_stream_that_ends_with_a_code(serve, shop, face, status):
    """Messages come first, then the error."""
    server = serve()
    server.answer = status(grpc.StatusCode.DATA_LOSS)
    shop.bind(server)
    with pytest.raises(grpc.RpcError) as caught:
        face.call("Many", b"2", "unary_stream")
    assert grpc.StatusCode.DATA_LOSS is caught.value.code()
    assert sum(state.pending for state in shop.upstream.states()) == 0


def test_large_messages_pass_both_ways(serve, shop, face):
    """Three megabytes there and back: more than any buffer of the pump."""
    shop.bind(serve())
    large = bytes(range(256)) * 12_000
    assert large == face.call("Echo", large)


def test_a_message_too_large_is_refused(serve, shop, face):
    """grpcio's own limit of 4 MiB for what is received holds."""
    shop.bind(serve(options=[("grpc.max_receive_message_length", -1)]))
    with pytest.raises(grpc.RpcError) as caught:
        face.call("Echo", bytes(5 * 1024 * 1024))
    assert grpc.StatusCode.RESOURCE_EXHAUSTED is caught.value.code()


def test_the_server_hears_of_the_deadline(serve, shop, face):
    """`timeout` is the RPC's deadline on the wire, and its end an error with that code."""
    server = serve()
    server.answer = server.hold
    shop.bind(server)
    with pytest.raises(grpc.RpcError) as caught:
        face.call("Play", b"", timeout=0.3)
    assert grpc.StatusCode.DEADLINE_EXCEEDED is caught.value.code()
    assert 0 < server.left[0] <= 0.3
    assert server.gone.wait(PATIENCE)


def test_cancelling_reaches_the_server(serve, shop, face):
    """The server's handler is told, and the endpoint is not blamed."""
    server = serve()
    server.answer = server.hold
    shop.bind(server)
    call = face.begin("Play", b"")
    assert server.asked.acquire(timeout=PATIENCE)
    if isinstance(call, grpc.Call):
        assert call.cancel()
        with pytest.raises(grpc.FutureCancelledError):
            call.result(PATIENCE)
    else:
        face.loop.call_soon_threadsafe(call.cancel)
        assert grpc.StatusCode.CANCELLED is face.run(call.code())
    assert call.cancelled()
    assert server.gone.wait(PATIENCE)


def test_nobody_there(shop, face):
    """A service without an endpoint is UNAVAILABLE, with why and what to try."""
    shop.bind()
    with pytest.raises(grpc.RpcError, match="no instance is registered") as caught:
        face.call("Echo", b"")
    assert grpc.StatusCode.UNAVAILABLE is caught.value.code()


def test_a_closed_channel(serve, shop, sync_face):
    """It takes no calls, as grpcio's does not."""
    shop.bind(serve())
    assert b"x" == sync_face.call("Echo", b"x")
    sync_face.close()
    with pytest.raises(ValueError, match="Cannot invoke RPC"):
        sync_face.call("Echo", b"x")


def test_interceptors_of_the_user(serve, shop, sync_face):
    """`grpc.intercept_channel` works: what it adds arrives, and what it sees is a call."""

    class Adds(grpc.UnaryUnaryClientInterceptor):
        def intercept_unary_unary(self, continuation, details, request):
            seen.append(answer := continuation(details, request + b"!"))
            return answer

    seen = []
    shop.bind(serve())
    channel = grpc.intercept_channel(sync_face.channel, Adds())
    assert b"x!" == channel.unary_unary("/t.T/Echo")(b"x")
    assert grpc.StatusCode.OK is seen[0].code()


def test_interceptors_see_errors_as_calls(serve, shop, sync_face):
    """An interceptor is given the error to look at, and the caller gets it raised."""

    class Looks(grpc.UnaryUnaryClientInterceptor):
        def intercept_unary_unary(self, continuation, details, request):
            seen.append((answer := continuation(details, request)).code())
            return answer

    seen = []
    shop.bind()
    channel = grpc.intercept_channel(sync_face.channel, Looks())
    with pytest.raises(grpc.RpcError):
        channel.unary_unary("/t.T/Echo")(b"x")
    assert [grpc.StatusCode.UNAVAILABLE] == seen


def test_a_future(serve, shop, sync_face):
    """It is done when it says so, tells its callbacks, and has all a call has."""
    shop.bind(serve())
    future = sync_face.begin("Echo", b"x")
    told = threading.Event()
    future.add_done_callback(lambda _: told.set())
    assert told.wait(PATIENCE)
    assert b"x" == future.result()
    assert (True, None, grpc.StatusCode.OK) == (future.done(), future.exception(), future.code())


def test_a_conversation_in_turns(serve, shop, sync_face):
    """Requests may depend on answers: the call begins before its first message is there."""
    shop.bind(serve())
    said = threading.Semaphore(0)

    def requests():
        for word in (b"a", b"b"):
            assert said.acquire(timeout=PATIENCE)
            yield word

    call = sync_face.channel.stream_stream("/t.T/Chat")(requests())
    for expected in (b"you said a", b"you said b"):
        said.release()
        assert expected == next(call)
    assert [] == list(call)


def test_a_conversation_by_writing(serve, shop, aio_face):
    """`write`, `read` and `done_writing` do the same in a loop."""
    shop.bind(serve())

    async def talk():
        call = aio_face.channel.stream_stream("/t.T/Chat")()
        await call.wait_for_connection()
        heard = []
        for word in (b"a", b"b"):
            await call.write(word)
            heard.append(await call.read())
        await call.done_writing()
        return heard, await call.read(), await call.code()

    heard, last, code = aio_face.run(talk())
    assert [b"you said a", b"you said b"] == heard
    assert (grpc.aio.EOF, grpc.StatusCode.OK) == (last, code)


def test_a_cancelled_task_cancels_its_call(serve, shop, aio_face):
    """Whoever is cancelled while awaiting a call has it cancelled, at the server too."""
    server = serve()
    server.answer = server.hold
    shop.bind(server)

    async def main():
        task = asyncio.ensure_future(aio_face.called("Play", b""))
        await asyncio.get_running_loop().run_in_executor(None, server.asked.acquire)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    aio_face.run(main())
    assert server.gone.wait(PATIENCE)
