"""Interceptors of a synchronous channel of grpcio's and of ours: the same."""

from __future__ import annotations

import grpc
import pytest

PATIENCE = 20.0
NOT_FOUND = grpc.StatusCode.NOT_FOUND
OK = grpc.StatusCode.OK


class Every(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds metadata to calls of every shape, and remembers what it saw."""

    def __init__(self, name):
        self.name, self.seen = name, []

    def intercept(self, proceed, details, request):
        self.seen.append((details.method, details.timeout, details.wait_for_ready))
        metadata = (*(details.metadata or ()), ("via", self.name))
        return proceed(details._replace(metadata=metadata), request)

    intercept_unary_unary = intercept_unary_stream = intercept
    intercept_stream_unary = intercept_stream_stream = intercept


@pytest.mark.parametrize(
    ("shape", "method", "request_", "expected"),
    [
        ("unary_unary", "Echo", b"a", b"a"),
        ("unary_stream", "Many", b"2", [b"0", b"1"]),
        ("stream_unary", "Join", [b"a", b"b"], b"a+b"),
        ("stream_stream", "Chat", [b"a"], [b"you said a"]),
    ],
)
def test_interceptors_of_every_shape(server, channel, shape, method, request_, expected):
    """The first stands outermost; what they add arrives in order, and the timeout is told."""
    outer, inner = Every("outer"), Every("inner")
    through = grpc.intercept_channel(channel, outer, inner)
    asked = iter(request_) if isinstance(request_, list) else request_
    answer = getattr(through, shape)(f"/t.T/{method}")(asked, timeout=PATIENCE)
    assert expected == (list(answer) if isinstance(expected, list) else answer)
    assert [("via", "outer"), ("via", "inner")] == server.said("via")
    assert [(f"/t.T/{method}", PATIENCE, None)] == inner.seen == outer.seen


def test_futures_and_calls_through_interceptors(server, channel):
    """`future` and `with_call` go through them too."""
    play = grpc.intercept_channel(channel, Every("one")).unary_unary("/t.T/Play")
    server.saying(trailing_metadata=(("t", "1"),))
    future = play.future(b"")
    assert (b"well", OK) == (future.result(PATIENCE), future.code())
    message, call = play.with_call(b"")
    assert (b"well", [("t", "1")]) == (message, [tuple(each) for each in call.trailing_metadata()])


def test_an_interceptor_that_answers(server, channel):
    """What it makes of the answer is the answer; what it raises is raised."""

    class Instead(grpc.UnaryUnaryClientInterceptor):
        def intercept_unary_unary(self, proceed, details, request):
            if request == b"raise":
                raise RuntimeError("mine")
            return proceed(details, request + b"!")

    echo = grpc.intercept_channel(channel, Instead()).unary_unary("/t.T/Echo")
    assert b"a!" == echo(b"a")
    with pytest.raises(RuntimeError, match="mine"):
        echo(b"raise")


def test_an_interceptor_that_tries_again(server, channel):
    """It may proceed more than once, and look at each outcome."""

    class Twice(grpc.UnaryUnaryClientInterceptor):
        def intercept_unary_unary(self, proceed, details, request):
            first = proceed(details, request)
            return proceed(details, request) if first.code() is NOT_FOUND else first

    turns = iter([NOT_FOUND, None])

    def answer(request, context):
        code = next(turns)
        if code is not None:
            context.abort(code, "as told")
        return b"well"

    server.answer = answer
    assert b"well" == grpc.intercept_channel(channel, Twice()).unary_unary("/t.T/Play")(b"")
