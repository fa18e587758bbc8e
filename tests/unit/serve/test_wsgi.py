from __future__ import annotations

import io
import json
from contextlib import closing
from wsgiref.util import FileWrapper

import pytest

from meshlib.serve.admission import Connection
from meshlib.serve.stages import Stage
from meshlib.serve.wsgi import MeshWSGI


class Server:
    """A WSGI server of ours, for one request."""

    def __init__(self, connection):
        self.connection, self.closes, self.started = connection, 0, []

    def connection_of(self, environ):
        return self.connection

    def close_after(self, environ):
        self.closes += 1

    def start_response(self, status, headers, exc_info=None):
        self.started.append((status, dict(headers)))
        return lambda data: None

    def call(self, app, **changes):
        app.transport = self
        environ = {
            "REQUEST_METHOD": "GET",
            "SCRIPT_NAME": "",
            "PATH_INFO": "/a b",
            "QUERY_STRING": "password=hunter2",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "backend",
            "REMOTE_ADDR": "127.0.0.1",
            "REMOTE_PORT": "1234",
            "wsgi.file_wrapper": FileWrapper,
            **changes,
        }
        return app(environ, self.start_response)


@pytest.fixture
def server(connection) -> Server:
    return Server(connection)


def hello(environ, start_response):
    """Answer in two pieces."""
    start_response("201 Created", [])
    return [b"hel", b"lo"]


def test_the_span_ends_when_the_iterable_is_closed(options, server, spans, clock) -> None:
    """Not when the application returns: a generator has done nothing by then."""
    closed = []

    def app(environ, start_response):
        try:
            clock.advance(1.0)
            start_response("200 OK", [])
            yield b"one"
            clock.advance(1.0)
            yield b"two"
        finally:
            closed.append("closed")

    result = server.call(MeshWSGI(app, options))
    pieces = iter(result)
    assert b"one" == next(pieces)
    assert ([], []) == (spans.ended, closed)
    assert [b"two"] == list(pieces)
    assert [] == spans.ended
    result.close()
    result.close()
    assert [(200, type(None))] == spans.ended
    assert [("backend", "/a%20b", 200, 2.0)] == spans.served
    assert ["closed"] == closed


def test_close_of_the_application_is_called(options, server) -> None:
    """The server's `close` reaches what the application returned."""
    closed = []

    class Result(list):
        def close(self):
            closed.append(True)

    server.call(MeshWSGI(lambda environ, start: Result([b"a"]), options)).close()
    assert [True] == closed


def test_a_client_that_hangs_up_is_status_0(options, server, spans) -> None:
    """The server closes the iterable before its end."""
    result = server.call(MeshWSGI(hello, options))
    assert b"hel" == next(iter(result))
    result.close()
    assert [(0, type(None))] == spans.ended


@pytest.mark.parametrize("late", [False, True])
def test_an_error_is_reported_and_passed_on(options, server, spans, late) -> None:
    """Whether the application fails at once or while its answer is read."""

    def pieces():
        raise LookupError
        yield b""

    def app(environ, start_response):
        return pieces() if late else list(pieces())

    def serve():
        with closing(server.call(MeshWSGI(app, options))) as result:
            return list(result)

    with pytest.raises(LookupError):
        serve()
    assert [(500, LookupError)] == spans.ended


def test_a_file_wrapper_reaches_the_server_as_it_is(options, server, spans) -> None:
    """Servers know their wrapper by its class; its close still ends the span."""
    file = io.BytesIO(b"content")
    result = server.call(MeshWSGI(lambda environ, start: FileWrapper(file), options))
    assert type(result) is FileWrapper
    assert [] == spans.ended
    assert b"content" == b"".join(result)
    result.close()
    assert file.closed
    assert 1 == len(spans.ended)


def test_the_environ(options, server, peer) -> None:
    """The peer is named, claims are gone, other headers stay."""
    seen = {}

    def app(environ, start_response):
        seen.update(environ)
        return []

    claims = ("HTTP_X_MESH_PEER", "HTTP_X_SPIFFE_ID", "HTTP_X_FORWARDED_CLIENT_CERT")
    server.call(MeshWSGI(app, options), HTTP_X_A="1", **dict.fromkeys(claims, "admin")).close()
    assert (peer.identity, False) == (seen["mesh.peer"], seen["mesh.edge"])
    assert "1" == seen["HTTP_X_A"]
    assert not set(claims) & set(seen)


def test_the_tracer_sees_headers_by_their_names(options, server, spans) -> None:
    """Lower-case names with dashes, the two that WSGI spells differently among them."""
    server.call(MeshWSGI(hello, options), HTTP_X_A="1", CONTENT_TYPE="text/plain").close()
    headers = spans.begun[0].headers
    assert ("1", "text/plain") == (headers["x-a"], headers["content-type"])
    assert {"host": "backend", "x-a": "1", "content-type": "text/plain"} == dict(headers)
    assert headers.get("cookie") is None
    assert ("127.0.0.1", 1234) == spans.begun[0].client


def test_a_foreign_server_gets_421(options, spans) -> None:
    """Without mesh TLS beneath it the application is never called."""
    app, server = MeshWSGI(hello, options), Server(None)
    body = server.call(app)
    assert [b"this service answers only over mutual TLS of the mesh\n"] == body
    assert "421 Misdirected Request" == server.started[0][0]
    assert 1 == server.closes
    assert [] == spans.begun


@pytest.mark.parametrize(
    "change",
    [
        {"HTTP_HOST": ""},
        {"HTTP_HOST": "a,b"},
        {"CONTENT_LENGTH": "1", "HTTP_TRANSFER_ENCODING": "chunked"},
        {"RAW_URI": "http://evil/a"},
        {"RAW_URI": "*"},
    ],
)
def test_flawed_requests_are_refused(options, server, change) -> None:
    """400, and the connection is closed."""
    server.call(MeshWSGI(hello, options), **change)
    assert "400 Bad Request" == server.started[0][0]
    assert 1 == server.closes


def test_only_the_closing_stage_ends_connections(options, server) -> None:
    """Decided when the answer begins, so that requests in flight hear of it."""
    app = MeshWSGI(hello, options)
    app.stages.advance(Stage.LAME_DUCK)
    server.call(app).close()
    assert 0 == server.closes

    def drained_meanwhile(environ, start_response):
        app.stages.advance(Stage.CLOSING)
        return hello(environ, start_response)

    app.app = drained_meanwhile
    server.call(app).close()
    assert 1 == server.closes


def test_the_health_page(options, server, spans) -> None:
    """Answered by the mesh; the edge hears the status only."""
    app = MeshWSGI(hello, options)
    (body,) = server.call(app, PATH_INFO="/-/health")
    assert ("passing", "backend") == (json.loads(body)["status"], json.loads(body)["service"])
    edge = Server(Connection(None, edge=True))
    assert [b'{"status": "passing"}'] == edge.call(app, PATH_INFO="/-/health")
    assert [] == spans.begun
