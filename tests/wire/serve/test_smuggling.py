"""What two parsers could read differently is refused, and what follows it is never looked at."""

from __future__ import annotations

import pytest

from meshlib.testing.evil import UPGRADE

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: backend\r\n\r\n"

INPUTS = {
    "CL and TE": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "absolute-form": b"GET http://evil/a HTTP/1.1\r\nHost: evil\r\n\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "authority": b"CONNECT evil:80 HTTP/1.1\r\nHost: evil:80\r\n\r\n",
    "websocket": UPGRADE.replace(b"GET /", b"GET http://evil/"),
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n",
}


async def never(scope, receive, send):
    """Answer, to tell on whoever lets a request through."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"reached the application"})


@pytest.mark.parametrize("http", ["h11", "httptools", "hypercorn"])
@pytest.mark.parametrize("name", INPUTS)
def test_asgi_servers_refuse_ambiguous_requests(run, client, http, name) -> None:
    """400, the connection closed, and nothing reaches the application, nor what is smuggled."""
    with run(never, http=http) as running:
        answer = client.exchange(*running.address, INPUTS[name] + SMUGGLED)
    assert b"HTTP/1.1 400 " == answer[:13]
    assert 1 == answer.count(b"HTTP/1.1")
    assert [] == running.recorder.served


@pytest.mark.parametrize("name", INPUTS)
def test_gunicorn_refuses_ambiguous_requests(child, client, name) -> None:
    """400, the connection closed, and nothing reaches the application, nor what is smuggled."""
    answer = client.exchange(*child, INPUTS[name] + SMUGGLED)
    assert b"HTTP/1.1 400 " == answer[:13]
    assert 1 == answer.count(b"HTTP/1.1")
    assert b"frontend" not in answer


@pytest.fixture
def child(spawn):
    """Host and port of a WSGI server."""
    return spawn("wsgi", threads=2).wait_for("started")[1:3]
