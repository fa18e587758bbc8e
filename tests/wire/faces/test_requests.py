"""The requests and urllib3 faces, against servers that follow a script."""

from __future__ import annotations

import io
import json

import pytest
import requests
import urllib3

from meshlib import errors
from meshlib.adapters.requests import MeshAdapter
from meshlib.adapters.requests_session import MeshSession
from meshlib.adapters.urllib3 import MeshPoolManager


def answer(body=b"ok", status="200 OK", headers="", *, cut=False):
    """An answer with these headers, perhaps cut off in its body."""

    def play(request, connection):
        size = len(body) + (100_000 if cut else 0)
        head = f"HTTP/1.1 {status}\r\n{headers}content-length: {size}\r\n\r\n"
        connection.sendall(head.encode() + (b"" if request.line.startswith("HEAD") else body))
        return not cut

    return play


def by_path(**answers):
    """Answers by the first word of the path."""

    def play(request, connection):
        word = request.line.split()[1].strip("/").partition("?")[0] or "root"
        return answers[word](request, connection)

    return play


@pytest.fixture(params=["mounted", "whole"])
def session(request, sync_services):
    """A session whose every request goes through the mesh."""
    own = request.param == "whole"
    with MeshSession(sync_services) if own else requests.Session() as session:
        session.trust_env = False
        if not own:
            session.mount("http://", MeshAdapter(sync_services))
            session.mount("https://", MeshAdapter(sync_services))
        yield session


@pytest.fixture
def pools(sync_services):
    """The same for urllib3."""
    with MeshPoolManager(sync_services) as manager:
        yield manager


def test_a_request_arrives_as_requests_makes_it(session, shop, serve):
    """Query, JSON body, form headers and the user agent are requests' own."""
    server = serve()
    shop.bind(server)
    response = session.post("http://shop/a%20b", params={"q": "ä"}, json={"n": 1})
    (seen,) = server.requests
    assert "POST /a%20b?q=%C3%A4 HTTP/1.1" == seen.line
    assert {"n": 1} == json.loads(seen.body)
    assert ("shop", "application/json") == (seen.headers["host"], seen.headers["content-type"])
    assert seen.headers["user-agent"].startswith("python-requests/")
    assert (200, "ok", "http://shop/a%20b?q=%C3%A4") == (
        response.status_code,
        response.text,
        response.url,
    )


def test_two_slashes(session, shop, serve):
    """What begins with two is sent as this version of requests sends it: 2.34 leaves both."""
    server = serve()
    shop.bind(server)
    prepared = requests.Request("GET", "http://shop//a//b").prepare()
    session.send(prepared)
    path = requests.adapters.HTTPAdapter().request_url(prepared, None)
    assert f"GET {path} HTTP/1.1" == server.requests[0].line


def test_cookies_and_redirects_are_requests_own(session, shop, serve):
    """A cookie set on the way is sent to where the redirect leads."""
    server = serve()
    server.answer = by_path(
        old=answer(b"", "302 Found", "location: /new\r\nset-cookie: a=1; Path=/\r\n"),
        new=answer(b"here"),
    )
    shop.bind(server)
    response = session.get("http://shop/old")
    assert (b"here", 1) == (response.content, len(response.history))
    assert "a=1" == server.requests[1].headers["cookie"]


def test_what_lies_beneath_a_response(session, shop, serve):
    """Those who look for repeated headers where http.client has them find them there."""
    server = serve()
    server.answer = answer(headers="x-a: 1\r\nx-a: 2\r\n")
    shop.bind(server)
    response = session.get("http://shop/")
    assert ["1", "2"] == response.raw._original_response.msg.get_all("X-A")
    assert {} == session.cookies.get_dict()


def test_what_was_read_is_read(session, shop, serve):
    """A body can be had again and again, and nothing of it lies beneath the response any more."""
    server = serve()
    shop.bind(server)
    response = session.get("http://shop/")
    assert (b"ok", [b"ok"]) == (response.content, list(response.iter_content(10)))
    assert (b"", True, 2) == (response.raw.read(), response.raw.closed, response.raw.tell())


@pytest.mark.parametrize("stream", [True, False])
def test_a_hook_has_the_body_to_itself(session, shop, serve, stream):
    """Whoever looks at a response first may read what lies beneath it."""
    server, seen = serve(), []
    shop.bind(server)

    def look(response, **_):
        seen.append(response.raw.read())

    session.get("http://shop/", hooks={"response": look}, stream=stream)
    assert [b"ok"] == seen


def test_a_stream_is_the_callers(session, shop, serve):
    """A small body lies beneath a response that is to be streamed."""
    server = serve()
    shop.bind(server)
    with session.get("http://shop/", stream=True) as response:
        assert b"ok" == response.raw.read()


@pytest.mark.parametrize(
    ("body", "framing"),
    [
        (b"bytes", ("content-length", "5")),
        ("text", ("content-length", "4")),
        (lambda: io.BytesIO(b"a file"), ("content-length", "6")),
        (lambda: iter([b"part ", b"by part"]), ("transfer-encoding", "chunked")),
    ],
    ids=["bytes", "text", "file", "generator"],
)
def test_bodies(session, shop, serve, body, framing):
    """Each kind of body arrives whole, framed as requests says."""
    server = serve()
    shop.bind(server)
    session.post("http://shop/", data=body() if callable(body) else body)
    (seen,) = server.requests
    assert seen.body in {b"bytes", b"text", b"a file", b"part by part"}
    assert framing[1] == seen.headers[framing[0]]


def test_a_wrong_content_length_is_never_sent(session, shop, serve):
    """The rest of such a body would be read as the next request."""
    server = serve()
    shop.bind(server)
    prepared = requests.Request("POST", "http://shop/", data=b"GET /evil").prepare()
    prepared.headers["Content-Length"] = "3"
    with pytest.raises(requests.ConnectionError, match=r"Content-Length: '3' is sent"):
        session.send(prepared)
    assert [] == server.requests


def test_a_large_reply_is_streamed(session, shop, serve):
    """Its parts come as they are asked for, and the connection serves the next request."""
    server = serve()
    server.answer = answer(b"x" * 1_000_000)
    shop.bind(server)
    with session.get("http://shop/", stream=True) as response:
        assert 1_000_000 == sum(len(part) for part in response.iter_content(8192))
    session.get("http://shop/")
    assert 1 == server.connections


def test_a_reply_that_is_left_closes_its_connection(session, shop, serve):
    """Whoever leaves a large reply half read does not read its rest as the next answer."""
    server = serve()
    server.answer = answer(b"x" * 1_000_000)
    shop.bind(server)
    with session.get("http://shop/", stream=True) as response:
        next(response.iter_content(10))
    assert 200 == session.get("http://shop/").status_code
    assert 2 == server.connections


def test_a_large_reply_cut_off_is_told(session, shop, serve):
    """What breaks in mid-stream is requests' ChunkedEncodingError, as without us."""
    server = serve()
    server.answer = answer(b"x" * 70_000, cut=True)
    shop.bind(server)
    with pytest.raises(requests.exceptions.ChunkedEncodingError) as caught:
        session.get("http://shop/")
    assert isinstance(caught.value.args[0], errors.Interrupted)


def test_a_get_cut_off_goes_elsewhere(session, shop, serve):
    """Retries are the mesh's."""
    bad, good = serve(), serve()
    bad.answer = lambda request, connection: False
    shop.bind(bad, good)
    assert {200} == {session.get("http://shop/").status_code for _ in range(10)}
    assert bad.requests


def test_nobody_there_is_requests_connection_error(session, shop, dead):
    """The error is both, and knows its request."""
    shop.bind(dead)
    with pytest.raises(requests.ConnectionError) as caught:
        session.get("http://shop/x")
    assert isinstance(caught.value, errors.ConnectFailed)
    assert "http://shop/x" == caught.value.request.url


def test_a_read_timeout_is_requests_own(session, shop, serve):
    """requests' timeout holds, and is caught as its ReadTimeout."""
    silent = serve()
    silent.answer = lambda request, connection: bool(connection.recv(1))
    shop.bind(silent)
    with pytest.raises(requests.ReadTimeout):
        session.post("http://shop/", timeout=(1, 0.05))


def test_a_port_is_no_service(session):
    """The mesh chooses ports."""
    with pytest.raises(requests.ConnectionError, match="write http://shop/x"):
        session.get("http://shop:80/x")


def test_a_compressed_reply_is_decoded(session, shop, serve):
    """requests decodes what it asked for."""
    import gzip

    server = serve()
    server.answer = answer(gzip.compress(b"text"), headers="content-encoding: gzip\r\n")
    shop.bind(server)
    assert "text" == session.get("http://shop/").text
    assert "gzip" in server.requests[0].headers["accept-encoding"]


def test_urllib3_follows_redirects_and_decodes(pools, shop, serve):
    """urllib3's own request methods work on a pool of the mesh."""
    server = serve()
    server.answer = by_path(
        old=answer(b"", "302 Found", "location: /new\r\n"), new=answer(b'{"a": 1}')
    )
    shop.bind(server)
    response = pools.request("GET", "http://shop/old", fields={"q": "1"})
    assert ({"a": 1}, 200) == (response.json(), response.status)
    assert ["GET /old?q=1 HTTP/1.1", "GET /new HTTP/1.1"] == [it.line for it in server.requests]
    assert server.requests[0].headers["user-agent"].startswith("python-urllib3/")


def test_urllib3_posts_and_heads(pools, shop, serve):
    """Bodies have a length, a HEAD has none."""
    server = serve()
    shop.bind(server)
    pools.request("POST", "http://shop/", json={"a": 1})
    pools.request("POST", "http://shop/")
    assert b"" == pools.request("HEAD", "http://shop/").data
    assert [b'{"a":1}', b"", b""] == [it.body for it in server.requests]
    assert "0" == server.requests[1].headers["content-length"]


def test_urllib3_users_catch_max_retry_error(pools, shop, dead):
    """The error is both."""
    shop.bind(dead)
    with pytest.raises(urllib3.exceptions.MaxRetryError) as caught:
        pools.request("GET", "http://shop/")
    assert isinstance(caught.value, errors.ConnectFailed)


def test_urllib3_streams(pools, shop, serve):
    """Without preloading, a large reply is read as it comes, and may be left."""
    server = serve()
    server.answer = answer(b"x" * 300_000)
    shop.bind(server)
    response = pools.request("GET", "http://shop/", preload_content=False)
    assert b"xxxxx" == response.read(5)
    response.close()
    assert 300_000 == len(pools.request("GET", "http://shop/").data)
