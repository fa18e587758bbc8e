"""What is said beside the messages, by a synchronous channel of grpcio's and by ours: the same."""

from __future__ import annotations

from types import SimpleNamespace

import grpc
import pytest

PATIENCE = 20.0
NOT_FOUND = grpc.StatusCode.NOT_FOUND
OK = grpc.StatusCode.OK


def test_metadata_of_every_kind(server, channel):
    """Repeated keys stay in order and apart, binary values are any bytes, also none."""
    given = (
        ("k", "1"),
        ("b-bin", bytes(range(256))),
        ("k", "2, 3"),
        ("empty", ""),
        ("b-bin", b""),
        ("padded-bin", b"\xff"),
        ("text-bin", b"AAAA"),
    )
    channel.unary_unary("/t.T/Echo")(b"", metadata=given)
    assert sorted(given) == sorted(server.said(*dict(given)))
    assert [("k", "1"), ("k", "2, 3")] == server.said("k")
    assert [bytes(range(256)), b""] == [value for _, value in server.said("b-bin")]


@pytest.mark.parametrize(
    "pair",
    [
        ("Upper", "1"),
        ("k", "caf\xe9"),
        ("k", b"\xff"),
        ("with space", "1"),
        ("k", "line\nfeed"),
        ("", "1"),
    ],
    ids=["upper-case", "not-ascii", "bytes", "space", "line-feed", "no-name"],
)
def test_metadata_that_is_none(server, play, many, pair):
    """What HTTP/2 cannot carry is refused before anything is sent."""
    server.saying()
    called = (
        lambda: play(b"", metadata=(pair,)),
        lambda: play.with_call(b"", metadata=(pair,)),
        lambda: play.future(b"", metadata=(pair,)).result(PATIENCE),
        lambda: list(many(b"1", metadata=(pair,))),
    )
    for call in called:
        with pytest.raises(grpc.RpcError) as caught:
            call()
        assert grpc.StatusCode.INTERNAL is caught.value.code()
        assert "metadata" in caught.value.details()
    assert [] == server.metadata


def test_metadata_of_the_wrong_type(server, play):
    """A `-bin` value must be bytes; another one may be."""
    server.saying()
    with pytest.raises(TypeError, match="expected bytes"):
        play(b"", metadata=(("k-bin", "text"),))
    play(b"", metadata=(("k", b"bytes"),))
    assert [("k", "bytes")] == server.said("k")


def test_metadata_of_the_answer(server, play):
    """Initial and trailing metadata come back apart, with binary values and repeated keys."""

    def answer(request, context):
        context.send_initial_metadata((("i", "1"), ("i-bin", b"\x00")))
        context.set_trailing_metadata((("t", "1"), ("t", "2"), ("t-bin", b"\xff\x00")))
        return b"well"

    server.answer = answer
    message, call = play.with_call(b"")
    assert (b"well", OK, "") == (message, call.code(), call.details())
    assert [("i", "1"), ("i-bin", b"\x00")] == [tuple(pair) for pair in call.initial_metadata()]
    assert [("t", "1"), ("t", "2"), ("t-bin", b"\xff\x00")] == [
        tuple(pair) for pair in call.trailing_metadata()
    ]


@pytest.mark.parametrize("details", ["caf\xe9 \N{SNOWMAN} \N{DESERT}", "100 %\nline", "", "%41"])
def test_details_of_any_text(server, play, details):
    """They are percent-encoded UTF-8 on the wire, and text again here."""
    server.saying(code=NOT_FOUND, details=details)
    with pytest.raises(grpc.RpcError) as caught:
        play(b"")
    assert (NOT_FOUND, details) == (caught.value.code(), caught.value.details())


def test_status_with_details(server, play):
    """`grpc-status-details-bin`, a google.rpc.Status, is what `rpc_status` reads: bytes."""
    rich = (("grpc-status-details-bin", b"\x08\x05\x12\x04gone\xff"), ("why", "gone"))
    status = SimpleNamespace(code=NOT_FOUND, details="gone", trailing_metadata=rich)
    server.answer = lambda request, context: context.abort_with_status(status)
    with pytest.raises(grpc.RpcError) as caught:
        play(b"")
    assert sorted(rich) == sorted(tuple(pair) for pair in caught.value.trailing_metadata())


def test_an_error_is_a_call(server, play):
    """`with_call` raises what can be asked like a call that is over."""
    server.saying(code=NOT_FOUND, details="gone")
    with pytest.raises(grpc.RpcError) as caught:
        play.with_call(b"")
    error = caught.value
    assert isinstance(error, grpc.Call)
    assert "NOT_FOUND" in str(error)
    assert "gone" in error.debug_error_string()


class Signed(grpc.AuthMetadataPlugin):
    """Credentials of a call that say where it goes."""

    def __init__(self):
        self.seen = []

    def __call__(self, context, callback):
        self.seen.append((context.service_url, context.method_name))
        callback((("signed", "yes"),), None)


def test_call_credentials(server, play):
    """A token is sent as one, and a plugin is told of the method."""
    server.saying()
    signed = Signed()
    both = grpc.composite_call_credentials(
        grpc.access_token_call_credentials("secret"), grpc.metadata_call_credentials(signed)
    )
    assert b"well" == play(b"", credentials=both)
    assert [("authorization", "Bearer secret")] == server.said("authorization")
    assert [("signed", "yes")] == server.said("signed")
    ((url, method),) = signed.seen
    assert ("//shop/t.T", "Play") == (url.partition(":")[2], method)
    assert b"well" == play.future(b"", credentials=both).result(PATIENCE)
    assert 2 == len(signed.seen)


def test_call_credentials_of_streams(server, many):
    """They go with every shape."""
    token = grpc.access_token_call_credentials("secret")
    assert [b"0"] == list(many(b"1", credentials=token))
    assert [("authorization", "Bearer secret")] == server.said("authorization")


def test_call_credentials_that_fail(server, play):
    """What a plugin raises is told, and nothing is sent."""

    def broken(context, callback):
        callback((), RuntimeError("no key"))

    credentials = grpc.metadata_call_credentials(broken)
    with pytest.raises(grpc.RpcError) as caught:
        play(b"", credentials=credentials)
    assert grpc.StatusCode.UNAVAILABLE is caught.value.code()
    assert "no key" in caught.value.details()
    assert [] == server.metadata


def test_the_largest_message_sent(world, server):
    """`grpc.max_send_message_length` holds."""
    with world.open([("grpc.max_send_message_length", 1000)]) as channel:
        echo = channel.unary_unary("/t.T/Echo")
        assert bytes(900) == echo(bytes(900))
        with pytest.raises(grpc.RpcError) as caught:
            echo(bytes(1100))
    assert grpc.StatusCode.RESOURCE_EXHAUSTED is caught.value.code()
    assert "larger than max" in caught.value.details()
    assert 1 == len(server.metadata)


def test_the_largest_message_received(world, server):
    """`grpc.max_receive_message_length` holds, and -1 lifts it."""
    large = bytes(5 * 1024 * 1024)
    server.answer = lambda request, context: large
    with world.open([("grpc.max_receive_message_length", -1)]) as channel:
        assert large == channel.unary_unary("/t.T/Play")(b"")
    with world.open([("grpc.max_receive_message_length", 1000)]) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/t.T/Play")(b"")
    assert grpc.StatusCode.RESOURCE_EXHAUSTED is caught.value.code()


@pytest.mark.parametrize("timeout", [0, -1, 0.000001])
def test_time_that_is_up_before(meshed, timeout):
    """A deadline that has passed is one, while grpcio may be answered in no time."""
    with meshed.open() as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/t.T/Play")(b"", timeout=timeout)
    assert grpc.StatusCode.DEADLINE_EXCEEDED is caught.value.code()


def test_a_deadline_in_mid_stream(server, many):
    """What has come is there; then the time is up, here and at the server."""
    server.answer = server.hold
    call = many(b"2", timeout=0.3)
    assert [b"0", b"1"] == [next(call), next(call)]
    with pytest.raises(grpc.RpcError) as caught:
        next(call)
    assert grpc.StatusCode.DEADLINE_EXCEEDED is caught.value.code()
    assert grpc.StatusCode.DEADLINE_EXCEEDED is call.code()
    assert server.gone.wait(PATIENCE)


def test_what_cannot_be_said(server, channel):
    """A message that cannot be serialized, or read, is INTERNAL, and never sent, or received."""

    def broken(value):
        raise RuntimeError(value)

    server.saying()
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/t.T/Play", broken)(b"")
    assert "Exception serializing request!" == caught.value.details()
    assert [] == server.metadata
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/t.T/Play", None, broken)(b"")
    assert grpc.StatusCode.INTERNAL is caught.value.code()
    assert "Exception deserializing response!" == caught.value.details()


def test_a_method_that_is_not_there(channel):
    """UNIMPLEMENTED, in the server's words."""
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/t.T/None")(b"")
    assert grpc.StatusCode.UNKNOWN is caught.value.code()  # the generic handler raises
