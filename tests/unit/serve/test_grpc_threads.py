"""Streams whose generator is not driven as grpcio does it today."""

from __future__ import annotations

import time
from contextvars import copy_context

from meshlib.context import current
from meshlib.observe.passthrough import Passthrough
from meshlib.observe.quiet import Quiet
from meshlib.serve.grpc.handlers import Method
from meshlib.serve.grpc.rpcs import Desk
from meshlib.serve.grpc.threads import Threads
from meshlib.serve.options import Edge, ServeOptions
from meshlib.testing.ca import ThrowawayCA
from meshlib.trust.verify import fellows_of
from meshlib.watch import Watch


class Context:
    """grpcio's, of somebody at the edge."""

    def auth_context(self):
        return {"transport_security_type": [b"insecure"]}

    def invocation_metadata(self):
        return ()

    def peer(self):
        return "ipv4:127.0.0.1:1"

    def time_remaining(self):
        return 20.0


class Served(Quiet):
    def __init__(self):
        self.statuses = []

    def request_served(self, service, inbound, status, seconds):
        self.statuses.append(status)


def test_a_stream_ends_wherever_it_is_found():
    """Its handler's last words are still part of its RPC, which is told of as given up."""
    heard, seen = Served(), []
    credentials = Watch(ThrowawayCA(now=time.time()).credentials("backend"), ready=True)
    options = ServeOptions(
        service="backend",
        instance="backend-1",
        credentials=credentials,
        authorize=fellows_of(credentials),
        tracer=Passthrough(),
        listener=heard,
        register=lambda *_: None,
        edge=Edge("127.0.0.1", 0),
    )

    def endless(request, context):
        try:
            while True:
                yield request
        finally:
            seen.append(current())

    method = Method("/t.Echo/Endless", endless, lambda message: message, True)
    answers = Threads(Desk(lambda: options)).around(method)(b"more", Context())
    assert b"more" == copy_context().run(next, answers)
    assert b"more" == copy_context().run(next, answers)
    answers.close()
    assert [0] == heard.statuses
    assert [True] == [context is not None for context in seen]
    assert current() is None
