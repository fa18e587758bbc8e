"""What a handler behind the mesh does and knows: in threads and in loops, for all four arities."""

from __future__ import annotations

import threading

import grpc
import pytest

PATIENCE = 20.0


def test_unary(backend, call):
    """The handler knows who calls."""
    said = call(backend).say()
    assert ("frontend", False, {}, 3) == (
        said["peer"],
        said["edge"],
        said["claims"],
        said["priority"],
    )
    assert [("/t.Echo/Say", 200)] == backend.recorder.wait_served(1)


def test_answers_in_a_stream(backend, call):
    """A stream of answers arrives whole and in order."""
    count = call(backend).channel.unary_stream("/t.Echo/Count")
    assert [b"0", b"1", b"2"] == list(count(b"3", timeout=PATIENCE))
    assert [("/t.Echo/Count", 200)] == backend.recorder.wait_served(1)


def test_requests_in_a_stream(backend, call):
    """A stream of requests reaches the handler whole and in order."""
    gather = call(backend).channel.stream_unary("/t.Echo/Gather")
    assert b"abc" == gather(iter([b"a", b"b", b"c"]), timeout=PATIENCE)
    assert [("/t.Echo/Gather", 200)] == backend.recorder.wait_served(1)


def test_both_in_streams(serve, world, call):
    """Both directions stream at once."""
    with serve(world) as backend:
        first = threading.Event()

        def requests():
            yield b"a"
            assert first.wait(PATIENCE)
            yield b"b"

        answers = call(backend).channel.stream_stream("/t.Echo/Chat")(requests(), timeout=PATIENCE)
        assert b"A" == next(answers)
        first.set()
        assert [b"B"] == list(answers)
        assert [("/t.Echo/Chat", 200)] == backend.recorder.wait_served(1)


def test_abort(backend, call):
    """What a handler says with `abort` arrives as it said it."""
    error = call(backend).fails("Fail", b"abort")
    assert (grpc.StatusCode.NOT_FOUND, "there is none") == (error.code(), error.details())
    assert ("x-why", "because") in error.trailing_metadata()
    assert [("/t.Echo/Fail", 404)] == backend.recorder.wait_served(1)


def test_exception(backend, call):
    """What escapes from a handler is UNKNOWN, as with any server of grpcio."""
    error = call(backend).fails("Fail", b"raise")
    assert grpc.StatusCode.UNKNOWN == error.code()
    assert "a bug" in error.details()
    assert [("/t.Echo/Fail", 500)] == backend.recorder.wait_served(1)


def test_status_without_an_exception(backend, call):
    """What a handler says with `set_code` arrives as it said it."""
    error = call(backend).fails("Fail", b"code")
    assert (grpc.StatusCode.OUT_OF_RANGE, "too far") == (error.code(), error.details())
    assert [("/t.Echo/Fail", 400)] == backend.recorder.wait_served(1)


def test_no_such_method(backend, call):
    """A method that nobody has is UNIMPLEMENTED."""
    assert grpc.StatusCode.UNIMPLEMENTED == call(backend).fails("Nothing").code()


def test_claims_are_not_believed(backend, call):
    """Metadata that says who is calling does not reach the handler; other metadata does."""
    claims = [("x-mesh-peer", "admin"), ("x-forwarded-client-cert", "URI=x"), ("x-spiffe-id", "x")]
    said = call(backend).say(metadata=[*claims, ("x_mesh_peer", "a"), ("x-kept", "1")])
    assert "x-kept" in said["metadata"]
    assert [] == [name for name in said["metadata"] if "mesh" in name or "client" in name]
    assert "frontend" == said["peer"]


def test_deadline_of_grpc(backend, call):
    """The caller's timeout is what the handler has left, and its calls as well."""
    said = call(backend).say(timeout=7)
    assert 0 < said["left"] <= 7
    assert 0 < said["deadline"] <= 7


def test_deadline_of_the_mesh(backend, call):
    """The mesh's deadline holds where it is the shorter one."""
    said = call(backend).say(metadata=[("x-mesh-deadline-ms", "5000")])
    assert 0 < said["left"] <= 5
    assert 0 < said["deadline"] <= 5


def test_too_late(backend, call):
    """The handler is not asked when nobody waits for it."""
    error = call(backend).fails(metadata=[("x-mesh-deadline-ms", "0")])
    assert grpc.StatusCode.DEADLINE_EXCEEDED == error.code()
    assert [] == backend.app.calls
    assert [("deadline", 504)] == backend.recorder.refused


def test_credit_comes_back(backend, call):
    """What a handler did not need of its retry credit returns with the answer."""
    say = call(backend).channel.unary_unary("/t.Echo/Say")
    _, done = say.with_call(b"", timeout=PATIENCE, metadata=[("x-mesh-retry-credit", "3")])
    assert ("x-mesh-retry-credit", "3") in done.trailing_metadata()
    fail = call(backend).fails("Fail", b"abort", metadata=[("x-mesh-retry-credit", "2")])
    assert {("x-mesh-retry-credit", "2"), ("x-why", "because")} <= set(fail.trailing_metadata())


def test_priority(backend, call):
    """How urgent it is, a peer of the mesh says."""
    assert 6 == call(backend).say(metadata=[("x-mesh-priority", "6")])["priority"]


@pytest.mark.parametrize("way", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compression(backend, call, way):
    """Compressed messages arrive."""
    chat = call(backend).channel.stream_stream("/t.Echo/Chat")
    text = b"a" * 100_000
    assert [text.upper()] == list(chat(iter([text]), timeout=PATIENCE, compression=way))


def test_large_messages(serve, world, call):
    """Megabytes pass both ways, as far as the options of client and server let them."""
    size = 5_000_000 if not world.endswith("built") else 3_000_000
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with serve(world, said={"options": options}) as backend:
        chat = call(backend, options=options).channel.stream_stream("/t.Echo/Chat")
        assert [b"A" * size] == list(chat(iter([b"a" * size]), timeout=PATIENCE))


@pytest.mark.parametrize("world", ["threads", "threads-built", "loop", "loop-built"])
def test_cancelled_stream(backend, call):
    """A handler whose caller went away is ended as part of its RPC, which is told of as given up.

    grpcio itself never ends a generator that blocks a thread of an event loop's server.
    """
    answers = call(backend).channel.unary_stream("/t.Echo/Endless")(b"", timeout=PATIENCE)
    assert b"more" == next(answers)
    answers.cancel()
    assert backend.app.closed.acquire(timeout=PATIENCE)
    assert backend.app.left is not None
    assert [("/t.Echo/Endless", 0)] == backend.recorder.wait_served(1)


@pytest.mark.parametrize("world", ["threads", "threads-built", "loop", "loop-built"])
def test_out_of_time(backend, call):
    """A handler that takes longer than its caller waits is told of as given up."""
    error = call(backend).fails("Hold", timeout=0.2)
    assert grpc.StatusCode.DEADLINE_EXCEEDED == error.code()
    assert backend.app.over.wait(PATIENCE)
    backend.app.release.set()
    assert [("/t.Echo/Hold", 0)] == backend.recorder.wait_served(1)
