"""What is said beside the messages, by an asynchronous channel of grpcio's and by ours."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import grpc
import grpc.aio
import pytest

PATIENCE = 20.0
NOT_FOUND = grpc.StatusCode.NOT_FOUND
OK = grpc.StatusCode.OK


def pairs(metadata):
    """Metadata as plain pairs."""
    return [(key, value) for key, value in metadata]


async def until(wait):
    """Wait, beside the loop, for what the server does."""
    waiting = asyncio.get_running_loop().run_in_executor(None, lambda: wait(timeout=PATIENCE))
    assert await waiting


@pytest.mark.parametrize("kind", [tuple, lambda pairs: grpc.aio.Metadata(*pairs)])
def test_metadata_of_every_kind(on, server, kind):
    """Repeated keys stay in order and apart, binary values are any bytes, also none."""
    given = (("k", "1"), ("b-bin", bytes(range(256))), ("k", "2, 3"), ("e", ""), ("b-bin", b""))

    async def test(channel):
        await channel.unary_unary("/t.T/Echo")(b"", metadata=kind(given))

    on(test)
    assert sorted(given) == sorted(server.said(*dict(given)))
    assert [("k", "1"), ("k", "2, 3")] == server.said("k")


@pytest.mark.parametrize(
    "pair",
    [("Upper", "1"), ("k", "caf\xe9"), ("with space", "1"), ("k", "line\nfeed"), ("", "1")],
    ids=["upper-case", "not-ascii", "space", "line-feed", "no-name"],
)
@pytest.mark.parametrize("shape", ["unary_unary", "unary_stream"])
def test_metadata_that_is_none(on_meshed, server, shape, pair):
    """What HTTP/2 cannot carry is refused before anything is sent, by the error of streams.

    To unary calls grpcio raises an `ExecuteBatchError` of its innermost parts.
    """

    async def test(channel):
        with pytest.raises(grpc.aio.AioRpcError, match="Invalid metadata") as caught:
            await getattr(channel, shape)("/t.T/Play")(b"", metadata=(pair,))
        return caught.value.code()

    assert grpc.StatusCode.INTERNAL is on_meshed(test)
    assert [] == server.metadata


def test_metadata_of_the_answer(on, server):
    """Initial and trailing metadata come back apart, with binary values and repeated keys."""

    def answer(request, context):
        context.send_initial_metadata((("i", "1"), ("i-bin", b"\x00")))
        context.set_trailing_metadata((("t", "1"), ("t", "2"), ("t-bin", b"\xff\x00")))
        return b"well"

    server.answer = answer

    async def test(channel):
        call = channel.unary_unary("/t.T/Play")(b"")
        initial = await call.initial_metadata()
        assert isinstance(initial, grpc.aio.Metadata)
        message = await call
        return message, pairs(initial), await call.trailing_metadata(), await call.code()

    message, initial, trailing, code = on(test)
    assert (b"well", OK, [("i", "1"), ("i-bin", b"\x00")]) == (message, code, initial)
    assert [("t", "1"), ("t", "2"), ("t-bin", b"\xff\x00")] == pairs(trailing)
    assert ["1", "2"] == trailing.get_all("t")


@pytest.mark.parametrize("details", ["caf\xe9 \N{SNOWMAN} \N{DESERT}", "100 %\nline", "", "%41"])
def test_details_of_any_text(on, server, details):
    """They are percent-encoded UTF-8 on the wire, and text again here."""
    server.saying(code=NOT_FOUND, details=details)

    async def test(channel):
        call = channel.unary_unary("/t.T/Play")(b"")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        return caught.value, await call.code(), await call.details()

    error, *said = on(test)
    assert [NOT_FOUND, details] == said == [error.code(), error.details()]


def test_status_with_details(on, server):
    """`grpc-status-details-bin`, a google.rpc.Status, is what `rpc_status` reads: bytes."""
    rich = (("grpc-status-details-bin", b"\x08\x05\x12\x04gone\xff"), ("why", "gone"))
    status = SimpleNamespace(code=NOT_FOUND, details="gone", trailing_metadata=rich)
    server.answer = lambda request, context: context.abort_with_status(status)

    async def test(channel):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/t.T/Play")(b"")
        return pairs(caught.value.trailing_metadata())

    assert sorted(rich) == sorted(on(test))


def test_call_credentials(on, server):
    """A token is sent as one, with every shape; what a plugin raises is told."""
    token = grpc.access_token_call_credentials("secret")

    def broken(context, callback):
        callback((), RuntimeError("no key"))

    async def test(channel):
        echo = channel.unary_unary("/t.T/Echo")
        assert b"x" == await echo(b"x", credentials=token)
        assert [("authorization", "Bearer secret")] == server.said("authorization")
        many = channel.unary_stream("/t.T/Many")(b"1", credentials=token)
        assert [b"0"] == [each async for each in many]
        assert [("authorization", "Bearer secret")] == server.said("authorization")
        with pytest.raises(grpc.aio.AioRpcError, match="no key") as caught:
            await echo(b"x", credentials=grpc.metadata_call_credentials(broken))
        return caught.value.code()

    assert grpc.StatusCode.UNAVAILABLE is on(test)
    assert 2 == len(server.metadata)


def test_the_largest_messages(on, server):
    """`grpc.max_send_message_length` and the received one hold."""
    server.answer = lambda request, context: bytes(2000)

    async def test(channel):
        codes = []
        for request in (bytes(1100), b""):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary("/t.T/Play")(request)
            codes.append(caught.value.code())
        return codes, await channel.unary_unary("/t.T/Echo")(bytes(900))

    options = [("grpc.max_send_message_length", 1000), ("grpc.max_receive_message_length", 1000)]
    codes, echoed = on(test, options=options)
    assert [grpc.StatusCode.RESOURCE_EXHAUSTED] * 2 == codes
    assert bytes(900) == echoed


@pytest.mark.parametrize("timeout", [0, -1, 0.000001])
def test_time_that_is_up_before(on_meshed, server, timeout):
    """A deadline that has passed is one, while grpcio may be answered in no time."""
    server.saying()

    async def test(channel):
        call = channel.unary_unary("/t.T/Play")(b"", timeout=timeout)
        with pytest.raises(grpc.aio.AioRpcError):
            await call
        return await call.code()

    assert grpc.StatusCode.DEADLINE_EXCEEDED is on_meshed(test)


def test_a_deadline_in_mid_stream(on, server):
    """What has come is there; then the time is up, here and at the server."""
    server.answer = server.hold

    async def test(channel):
        call = channel.unary_stream("/t.T/Many")(b"2", timeout=0.3)
        heard = [await call.read(), await call.read()]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        await until(server.gone.wait)
        return heard, caught.value.code(), await call.code(), call.done(), call.cancelled()

    late = grpc.StatusCode.DEADLINE_EXCEEDED
    assert ([b"0", b"1"], late, late, True, False) == on(test)


def test_what_cannot_be_said(on_meshed, server):
    """A message that cannot be serialized, or read, is INTERNAL: grpcio logs it and goes on."""

    def broken(value):
        raise RuntimeError(value)

    server.saying()

    async def test(channel):
        with pytest.raises(grpc.aio.AioRpcError, match="Exception serializing request!"):
            await channel.unary_unary("/t.T/Play", broken)(b"")
        assert [] == server.metadata
        with pytest.raises(grpc.aio.AioRpcError, match="Exception deserializing response!"):
            await channel.unary_unary("/t.T/Play", None, broken)(b"")

    on_meshed(test)
