from __future__ import annotations

import contextvars

from meshlib.model import Attempt, Call
from meshlib.observe.events import Inbound
from meshlib.observe.passthrough import Passthrough

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def inbound(**headers):
    """A request with these headers."""
    return Inbound("GET", "/", headers, None, ("127.0.0.1", 1))


def injected(tracer, **call):
    """What an attempt puts on the wire."""
    headers: dict[str, str] = {}
    tracer.attempt(Attempt(Call("shop", **call))).inject(headers)
    return headers


def test_what_came_in_goes_out():
    """The trace headers of the served request are on every call made while it is served."""
    tracer = Passthrough()
    span = tracer.serve("front", inbound(traceparent=PARENT, baggage="a=b", cookie="secret"))
    assert {"traceparent": PARENT, "baggage": "a=b"} == injected(tracer)
    span.end(status=200)
    assert {} == injected(tracer)


def test_the_application_has_the_last_word():
    """A request that carries a traceparent of its own keeps it."""
    tracer = Passthrough()
    span = tracer.serve("front", inbound(traceparent=PARENT))
    assert {} == injected(tracer, headers={"traceparent": "mine"})
    span.end()


def test_two_requests_do_not_mix():
    """The headers belong to the context that serves the request."""
    tracer = Passthrough()

    def serve(parent):
        tracer.serve("front", inbound(traceparent=parent))
        return injected(tracer)

    first = contextvars.copy_context().run(serve, "one")
    second = contextvars.copy_context().run(serve, "two")
    assert ("one", "two") == (first["traceparent"], second["traceparent"])
    assert {} == injected(tracer)
