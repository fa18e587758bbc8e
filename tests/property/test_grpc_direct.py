"""HTTP/2 for unary RPCs, whatever comes in whatever pieces."""

from __future__ import annotations

from contextlib import suppress

from grpc import StatusCode
from hpack import Decoder
from hypothesis import given
from hypothesis import strategies as st

from meshlib.adapters.grpc.direct.blocks import literal, timeout
from meshlib.adapters.grpc.direct.connection import Connection, frame
from meshlib.adapters.grpc.direct.errors import BrokenProtocol
from meshlib.adapters.grpc.direct.exchange import Exchange

FRAMES = st.lists(
    st.builds(
        frame,
        st.integers(0, 12),
        st.integers(0, 255),
        st.sampled_from([0, 1, 2, 3, 5]),
        st.binary(max_size=40),
    ),
    max_size=12,
)


def begun():
    connection = Connection()
    calls = [Exchange(b"\x83", b"hello", 100) for _ in range(2)]
    for each in calls:
        connection.begin(each)
    return connection, calls


@given(FRAMES | st.lists(st.binary(max_size=50), max_size=5))
def test_nothing_but_a_broken_protocol_is_raised(frames):
    """Whatever a peer says, the connection goes on or says what was wrong with it."""
    connection, _ = begun()
    with suppress(BrokenProtocol):
        connection.feed(b"".join(frames))


@given(st.binary(max_size=90), st.lists(st.integers(1, 60), max_size=30))
def test_pieces_do_not_matter(message, sizes):
    """An answer is the same however the bytes of it are cut."""
    connection, (call, _) = begun()
    ok = literal("content-type", "application/grpc")
    data = frame(1, 4, 1, b"\x88" + ok)
    data += frame(0, 0, 1, b"\0" + len(message).to_bytes(4) + message)
    data += frame(1, 5, 1, literal("grpc-status", "0"))
    for size in sizes:
        connection.feed(data[:size])
        data = data[size:]
    connection.feed(data)
    assert (StatusCode.OK, message) == (call.code, call.content)


@given(st.floats(0, 1e12))
def test_timeouts(seconds):
    """At most eight digits and a unit, never more than was allowed nor much less."""
    ((name, said),) = Decoder().decode(timeout(seconds))
    units = {"u": 1e-6, "m": 1e-3, "S": 1.0}
    assert name == "grpc-timeout"
    assert len(said) <= 9
    meant = int(said[:-1]) * units[said[-1]]
    assert meant <= max(seconds, 1e-6) * (1 + 1e-9)
    assert meant >= min(seconds, 99_999_999) * 0.99 - 1e-6


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=400))
def test_values_are_said_as_they_are(value):
    """hpack reads what we wrote."""
    assert [("k", value)] == [tuple(each) for each in Decoder().decode(literal("k", value))]
