"""HTTP/2 for unary RPCs, against h2 at the other end and against peers that do not keep to it."""

from __future__ import annotations

import gzip

import pytest
from grpc import StatusCode
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes

from meshlib.adapters.grpc.direct.blocks import opening, told
from meshlib.adapters.grpc.direct.connection import Connection, frame
from meshlib.adapters.grpc.direct.errors import BrokenProtocol, Code, NeverTaken
from meshlib.adapters.grpc.direct.exchange import Exchange

OK = [("grpc-status", "0")]
HEAD = [(":status", "200"), ("content-type", "application/grpc")]


def exchange(message=b"hello", *, largest=1 << 20, metadata=()):
    block = opening("shop", "/shop.Shop/Buy", "test") + told(metadata)
    return Exchange(block, message, largest)


def framed(message, *, compressed=False):
    return bytes([compressed]) + len(message).to_bytes(4) + message


class Server:
    """h2's server, and what it heard."""

    def __init__(self, **settings):
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.h2.update_settings({getattr(SettingCodes, k): v for k, v in settings.items()})
        self.headers, self.bodies = {}, {}
        self.ended, self.reset = [], []

    def take(self, connection, *, grant=True):
        """Hear what the connection says, and tell it what the server says."""
        data = bytes(connection.out)
        connection.out.clear()
        for event in self.h2.receive_data(data):
            if isinstance(event, RequestReceived):
                self.headers[event.stream_id] = event.headers
                self.bodies[event.stream_id] = b""
            elif isinstance(event, DataReceived):
                self.bodies[event.stream_id] += event.data
                if grant:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                self.ended.append(event.stream_id)
            elif isinstance(event, StreamReset):
                self.reset.append((event.stream_id, event.error_code))
        self.tell(connection)

    def tell(self, connection):
        connection.feed(self.h2.data_to_send())

    def answer(self, connection, stream, message=b"", trailers=OK, head=HEAD):
        self.h2.send_headers(stream, head)
        data = framed(message)
        while data:
            size = min(len(data), 16384, self.h2.local_flow_control_window(stream))
            self.h2.send_data(stream, data[:size])
            data = data[size:]
            self.tell(connection)
            self.take(connection)
        self.h2.send_headers(stream, trailers, end_stream=True)
        self.tell(connection)


@pytest.fixture
def connection():
    return Connection()


def test_a_call(connection):
    """The message goes, the answer comes, with what is said beside them."""
    server, call = Server(), exchange(metadata=[("k", "v"), ("long", "x" * 300)])
    connection.begin(call)
    server.take(connection)
    assert framed(b"hello") == server.bodies[1]
    assert [1] == server.ended
    said = dict(server.headers[1])
    assert ("POST", "https", "shop", "/shop.Shop/Buy", "trailers", "application/grpc") == tuple(
        said[k] for k in (":method", ":scheme", ":authority", ":path", "te", "content-type")
    )
    assert ("v", "x" * 300) == (said["k"], said["long"])
    head = [*HEAD, ("early", "1")]
    server.answer(connection, 1, b"bye", [*OK, ("late", "2")], head)
    assert (True, StatusCode.OK, b"bye") == (call.done, call.code, call.content)
    assert ((("early", "1"),), (("late", "2"),)) == (call.initial, call.trailing)
    assert connection.quiet


@pytest.mark.parametrize(("window", "size"), [(65535, 200_000), (100, 1000), (1, 10)])
def test_windows_of_the_server(connection, window, size):
    """No more is sent than the server takes, and all of it in the end."""
    server, call = Server(INITIAL_WINDOW_SIZE=window), exchange(b"x" * size)
    server.tell(connection)
    connection.begin(call)
    message = framed(b"x" * size)
    while not server.ended:
        before = len(server.bodies.get(1, b""))
        server.take(connection)
        assert before < len(server.bodies[1]) <= before + window
    assert message == server.bodies[1]


@pytest.mark.parametrize("size", [0, 1, 16379, 16380, 70_000, 9_000_000])
def test_answers_of_any_size(connection, size):
    """A server may send as much as the caller takes."""
    server, call = Server(), exchange(largest=-1)
    connection.begin(call)
    server.take(connection)
    server.answer(connection, 1, b"y" * size)
    assert b"y" * size == call.content


def test_more_calls_than_the_server_takes_wait(connection):
    """They begin when others have ended."""
    server = Server(MAX_CONCURRENT_STREAMS=1)
    server.tell(connection)
    calls = [exchange() for _ in range(3)]
    for each in calls:
        connection.begin(each)
    for stream in (1, 3, 5):
        server.take(connection)
        assert [stream] == server.ended[-1:]
        server.answer(connection, stream, b"")
    assert all(each.done for each in calls)


def test_a_waiting_call_that_is_cancelled_is_never_sent(connection):
    """And one under way is reset."""
    server = Server(MAX_CONCURRENT_STREAMS=1)
    server.tell(connection)
    first, second = exchange(), exchange()
    connection.begin(first)
    connection.begin(second)
    connection.cancel(second)
    connection.cancel(first)
    server.take(connection)
    assert [(1, Code.CANCEL)] == server.reset
    assert [1] == list(server.headers)
    assert connection.quiet


def test_a_call_that_is_cancelled_before_it_begins_is_never_sent(connection):
    """Another thread may be that quick."""
    server, call = Server(), exchange()
    connection.cancel(call)
    connection.begin(call)
    server.take(connection)
    assert {} == server.headers
    assert connection.quiet


def test_an_early_answer_ends_the_upload(connection):
    """What the server has no use for is not sent."""
    server, call = Server(INITIAL_WINDOW_SIZE=10), exchange(b"x" * 1000)
    server.tell(connection)
    connection.begin(call)
    server.take(connection, grant=False)
    server.answer(connection, 1, b"enough")
    assert b"enough" == call.content
    server.take(connection)
    assert [(1, Code.NO_ERROR)] == server.reset


@pytest.mark.parametrize(
    ("trailers", "code", "details"),
    [
        ([("grpc-status", "5"), ("grpc-message", "no%20%C3%A9")], StatusCode.NOT_FOUND, "no é"),
        ([("grpc-status", "99")], StatusCode.UNKNOWN, ""),
        ([("x", "y")], StatusCode.UNKNOWN, "the server ended the call without a status"),
    ],
)
def test_statuses(connection, trailers, code, details):
    """Trailers say how a call ended."""
    server, call = Server(), exchange()
    connection.begin(call)
    server.take(connection)
    server.answer(connection, 1, b"", trailers)
    assert (code, details) == (call.code, call.details)


def test_trailers_only(connection):
    """An answer of one block is all trailers."""
    server, call = Server(), exchange()
    connection.begin(call)
    server.take(connection)
    pairs = [*HEAD, ("grpc-status", "7"), ("grpc-message", "no"), ("k", "v")]
    server.h2.send_headers(1, pairs, end_stream=True)
    server.tell(connection)
    assert (StatusCode.PERMISSION_DENIED, "no") == (call.code, call.details)
    assert ((), (("k", "v"),)) == (call.initial, call.trailing)


@pytest.mark.parametrize(
    ("head", "code"),
    [
        ([(":status", "503"), ("content-type", "text/html")], StatusCode.UNAVAILABLE),
        ([(":status", "404")], StatusCode.UNIMPLEMENTED),
        ([(":status", "200"), ("content-type", "text/html")], StatusCode.UNKNOWN),
    ],
)
def test_answers_that_are_not_grpc(connection, head, code):
    """Their status says what they are; their body is not looked at."""
    server, call = Server(), exchange()
    connection.begin(call)
    server.take(connection)
    server.h2.send_headers(1, head)
    server.h2.send_data(1, b"<html>" * 100)
    server.tell(connection)
    assert code is call.code
    server.take(connection)
    assert [(1, Code.CANCEL)] == server.reset


def test_interim_answers_are_passed_over(connection):
    """A 103 is no answer."""
    server, call = Server(), exchange()
    connection.begin(call)
    server.take(connection)
    server.h2.send_headers(1, [(":status", "103")])
    server.answer(connection, 1, b"real")
    assert b"real" == call.content


@pytest.mark.parametrize("name", ["gzip"])
def test_compressed_answers(connection, name):
    """They are decompressed, and no further than is wanted."""
    server, call, bomb = Server(), exchange(), exchange(largest=1000)
    for stream, each in ((1, call), (3, bomb)):
        connection.begin(each)
        server.take(connection)
        server.h2.send_headers(stream, [*HEAD, ("grpc-encoding", name)])
        packed = gzip.compress(b"z" * 100_000)
        server.h2.send_data(stream, framed(packed, compressed=True))
        server.h2.send_headers(stream, OK, end_stream=True)
        server.tell(connection)
    assert b"z" * 100_000 == call.content
    assert StatusCode.RESOURCE_EXHAUSTED is bomb.code


def test_answers_larger_than_wanted(connection):
    """They are refused before they have come."""
    server, call = Server(), exchange(largest=10)
    connection.begin(call)
    server.take(connection)
    server.h2.send_headers(1, HEAD)
    server.h2.send_data(1, (0).to_bytes(1) + (11).to_bytes(4))
    server.tell(connection)
    assert StatusCode.RESOURCE_EXHAUSTED is call.code
    assert "(11 vs. 10)" in call.details


@pytest.mark.parametrize("body", [b"", b"\0\0", framed(b"a") + framed(b"b"), framed(b"abc")[:-1]])
def test_anything_but_one_message(connection, body):
    """A unary answer is one message."""
    server, call = Server(), exchange()
    connection.begin(call)
    server.take(connection)
    server.h2.send_headers(1, HEAD)
    if body:
        server.h2.send_data(1, body)
    if not call.done:
        server.h2.send_headers(1, OK, end_stream=True)
    server.tell(connection)
    assert StatusCode.INTERNAL is call.code


def test_goodbye(connection):
    """Calls that the server did not begin are told so, the others go on."""
    server = Server()
    first, second = exchange(), exchange()
    connection.begin(first)
    connection.begin(second)
    server.take(connection)
    connection.feed(frame(7, 0, 0, (1).to_bytes(4) + bytes(4)))
    assert connection.goodbye
    assert isinstance(second.error, NeverTaken)
    assert not first.done
    server.answer(connection, 1, b"")
    assert StatusCode.OK is first.code


@pytest.mark.parametrize(
    ("code", "expected"),
    [(8, StatusCode.CANCELLED), (11, StatusCode.RESOURCE_EXHAUSTED), (2, StatusCode.INTERNAL)],
)
def test_resets(connection, code, expected):
    """A stream that the server breaks off has the code that gRPC gives it."""
    call = exchange()
    connection.begin(call)
    connection.feed(frame(3, 0, 1, code.to_bytes(4)))
    assert expected is call.code


def test_refused(connection):
    """A stream that the server refused was never begun."""
    call = exchange()
    connection.begin(call)
    connection.feed(frame(3, 0, 1, (7).to_bytes(4)))
    assert isinstance(call.error, NeverTaken)


def test_the_end_of_the_connection(connection):
    """Calls under way are interrupted, those not sent were never taken."""
    server = Server(MAX_CONCURRENT_STREAMS=1)
    server.tell(connection)
    first, second = exchange(), exchange()
    connection.begin(first)
    connection.begin(second)
    connection.end(ConnectionResetError("gone"))
    assert isinstance(first.error, ConnectionResetError)
    assert isinstance(second.error, NeverTaken)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(0, 0, 0, b"x"), Code.PROTOCOL_ERROR),
        (frame(0, 0, 2, b"x"), Code.PROTOCOL_ERROR),
        (frame(0, 0, 99, b"x"), Code.PROTOCOL_ERROR),
        (frame(0, 0, 1, b"x"), Code.PROTOCOL_ERROR),
        (frame(0, 8, 1, b"\xff"), Code.PROTOCOL_ERROR),
        (frame(1, 4, 1, b"\xbe"), Code.COMPRESSION_ERROR),
        (frame(1, 4, 1, b"\x00\x85"), Code.COMPRESSION_ERROR),
        (frame(1, 0, 1, b"\x88") + frame(0, 0, 1, b"x"), Code.PROTOCOL_ERROR),
        (frame(1, 0, 1, b"\x88") + frame(9, 4, 3, b""), Code.PROTOCOL_ERROR),
        (frame(1, 0, 1, b"\x88") + frame(9, 0, 1, b""), Code.ENHANCE_YOUR_CALM),
        (frame(9, 4, 1, b"\x88"), Code.PROTOCOL_ERROR),
        (frame(3, 0, 1, b"xyz"), Code.FRAME_SIZE_ERROR),
        (frame(4, 0, 0, b"xyz"), Code.FRAME_SIZE_ERROR),
        (frame(4, 0, 0, b"\0\4" + b"\xff" * 4), Code.FLOW_CONTROL_ERROR),
        (frame(4, 0, 0, b"\0\5\0\0\0\1"), Code.PROTOCOL_ERROR),
        (frame(5, 4, 1, bytes(8)), Code.PROTOCOL_ERROR),
        (frame(6, 0, 0, b"ping"), Code.FRAME_SIZE_ERROR),
        (frame(7, 0, 0, b""), Code.FRAME_SIZE_ERROR),
        (frame(8, 0, 0, bytes(4)), Code.FLOW_CONTROL_ERROR),
        (frame(8, 0, 0, b"\x7f" + b"\xff" * 3), Code.FLOW_CONTROL_ERROR),
        (frame(0, 0, 1, bytes(16385)), Code.FRAME_SIZE_ERROR),
        (frame(6, 0, 0, bytes(8)) * 1001, Code.ENHANCE_YOUR_CALM),
        (frame(4, 0, 0) * 1001, Code.ENHANCE_YOUR_CALM),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Code.FRAME_SIZE_ERROR),
    ],
)
def test_peers_that_break_the_protocol(connection, data, code):
    """Each is told why its connection ends."""
    connection.begin(exchange())
    with pytest.raises(BrokenProtocol) as caught:
        connection.feed(data)
    assert code is caught.value.code


def test_more_than_the_window(connection):
    """A server that sends more than it was granted is stopped."""
    connection.begin(exchange(largest=-1))
    connection.feed(frame(1, 4, 1, b"\x88" + b"\x0f\x10\x10application/grpc"))
    connection._taken = 8 << 20
    with pytest.raises(BrokenProtocol, match="window"):
        connection.feed(frame(0, 0, 1, b"x"))


def test_pings_are_answered(connection):
    """With what they said."""
    connection.out.clear()
    connection.feed(frame(6, 0, 0, b"pingpong"))
    assert frame(6, 1, 0, b"pingpong") == bytes(connection.out)


def test_unknown_frames_are_ignored(connection):
    """As is what they say."""
    connection.begin(exchange())
    connection.feed(frame(200, 255, 1, b"whatever"))


@pytest.mark.parametrize("value", ["a\nb", "é", "\x00", "a\x7f"])
def test_values_that_cannot_be_said(value):
    """They are refused, as grpcio does."""
    with pytest.raises(ValueError, match="metadata was invalid"):
        told([("k", value)])


@pytest.mark.parametrize("key", ["", "K", ":path", "a b", "a\n"])
def test_keys_that_are_none(key):
    """The same for names."""
    with pytest.raises(ValueError, match="metadata was invalid"):
        told([(key, "v")])
