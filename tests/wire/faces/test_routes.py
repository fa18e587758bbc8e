"""What routes do is what arrives, whichever engine sends it."""

from __future__ import annotations

import pytest

from meshlib.config.routes import AnswerConfig, FallbackConfig, MirrorConfig, RedirectConfig
from meshlib.model import Target
from meshlib.route.answer import Direct, Redirect
from meshlib.route.headers import HeaderChanges
from meshlib.route.rewrite import PrefixRewrite
from meshlib.route.rules import Rules
from meshlib.route.split import whole
from meshlib.route.table import single


def reply(body, status="200 OK"):
    """An ordinary answer."""

    def answer(request, connection):
        head = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        return True

    return answer


@pytest.fixture
def rule(client):
    """Have every call taken by a route with these rules."""
    return lambda **rules: client.table.set(single(whole(Target("shop")), Rules(**rules)))


def test_the_rewritten_request_is_what_arrives(client, serve, rule):
    """Path, host and headers are those of the route; the query and the body are the user's."""
    shop = serve()
    client.bind(shop)
    rule(
        rewrite=PrefixRewrite(len("/v1"), "/v2"),
        host="inner.example",
        request=HeaderChanges(add=(("x-a", "2"),), remove=("user-agent",)),
        response=HeaderChanges(set=(("x-back", "1"),)),
    )
    url = "http://shop/v1/%20x?q=1"
    response = client.request("POST", url, content=b"hello", headers={"x-b": "1"})
    (request,) = shop.requests
    assert "POST /v2/%20x?q=1 HTTP/1.1" == request.line
    assert ("inner.example", "2", "1", b"hello") == (
        request.headers["host"],
        request.headers["x-a"],
        request.headers["x-b"],
        request.body,
    )
    assert "user-agent" not in request.headers
    assert "1" == response.headers["x-back"]
    assert url == str(response.request.url)


def test_answers_of_the_mesh_are_ordinary_responses(client, rule):
    """Status, body and Location as from a server, and redirects are followed if asked for."""
    rule(answer=Direct(AnswerConfig(status=451, body="gone")))
    response = client.get()
    assert (451, "gone") == (response.status_code, response.text)
    rule(answer=Redirect(RedirectConfig(status=307, host="elsewhere", path="/x")))
    response = client.get()
    assert (307, "http://elsewhere/x") == (response.status_code, response.headers["location"])


def test_a_fallback_is_an_ordinary_response(client, dead, rule):
    """Nobody answers, and the caller gets what the document says."""
    client.bind(dead)
    rule(fallback=FallbackConfig(status=200, body="[]"))
    assert [] == client.get().json()


def test_a_copy_arrives_and_the_call_does_not_hear_of_it(client, serve, rule):
    """The copy is marked, and what it meets is its own affair; a loop that ends waits for it."""
    shop = serve()
    shop.answer = lambda request, connection: (
        reply(b"shadow", "500 No") if "x-mesh-mirror" in request.headers else reply(b"ok")
    )(request, connection)
    client.bind(shop)
    rule(mirrors=(MirrorConfig(service="shop"),))
    assert (200, b"ok") == (client.get().status_code, client.get().content)
    for _ in range(4):
        assert shop.asked.acquire(timeout=10)
    marks = sorted(request.headers.get("x-mesh-mirror", "") for request in shop.requests)
    assert ["", "", "1", "1"] == marks
    assert {"shop"} == {request.headers["host"] for request in shop.requests}


def test_a_silent_server_is_left_after_the_routes_idle_time(client, serve, rule):
    """The idle time of a route ends an attempt that its deadline would let wait."""
    shop = serve()
    shop.answer = lambda request, connection: bool(connection.recv(1))
    client.bind(shop)
    rule(silence=0.1, fallback=FallbackConfig(on=("failed",), status=299))
    assert 299 == client.request("POST", timeout=None).status_code
