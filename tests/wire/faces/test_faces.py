from __future__ import annotations

import pytest

from meshlib import errors
from meshlib.adapters.body import REPLAY_LIMIT
from meshlib.config import ConnectConfig, UpstreamConfig
from meshlib.serve.options import ServeOptions


def cut(request, connection):
    """No answer: the connection ends."""
    return False


def once(first, then):
    """The first request meets one answer, all others another."""
    answers = [first]

    def answer(request, connection):
        return (answers.pop() if answers else then)(request, connection)

    return answer


def reply(body=b"ok", status="200 OK", headers=""):
    """An ordinary answer."""

    def answer(request, connection):
        head = f"HTTP/1.1 {status}\r\n{headers}content-length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + (b"" if request.line.startswith("HEAD") else body))
        return True

    return answer


def chunked(*parts, finish=True):
    """An answer of unknown length, perhaps without its end."""

    def answer(request, connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for part in parts:
            connection.sendall(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        if finish:
            connection.sendall(b"0\r\n\r\n")
        return finish

    return answer


def test_a_request_arrives_as_it_was_asked(client, serve):
    """Method, path, query, headers and body reach the service unchanged."""
    shop = serve()
    client.bind(shop)
    headers = [("x-a", "1"), (b"X-B", b"\xfc")]
    client.request("POST", "http://shop/a%20b?q=1&q=%2F", content=b"hello", headers=headers)
    (request,) = shop.requests
    assert "POST /a%20b?q=1&q=%2F HTTP/1.1" == request.line
    assert ("shop", "1") == (request.headers["host"], request.headers["x-a"])
    assert b"hello" == request.body
    assert "5" == request.headers["content-length"]


def test_a_reply_arrives_as_it_was_sent(client, serve):
    """Status, repeated headers in order, and body reach the user unchanged."""
    shop = serve()
    shop.answer = reply(b"made", "201 Made It", "set-cookie: a=1\r\nset-cookie: b=2\r\n")
    client.bind(shop)
    response = client.get()
    assert (201, "Made It", b"made") == (
        response.status_code,
        response.reason_phrase,
        response.content,
    )
    assert ["a=1", "b=2"] == response.headers.get_list("set-cookie")


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified", "200 OK"])
def test_replies_without_a_body(client, serve, status):
    """HEAD, 204 and 304 have no body, whatever their headers say."""
    shop = serve()

    def answer(request, connection):
        connection.sendall(f"HTTP/1.1 {status}\r\n".encode() + b"etag: x\r\n\r\n")
        return True

    shop.answer = answer if status != "200 OK" else reply(b"body")
    client.bind(shop)
    method = "HEAD" if status == "200 OK" else "GET"
    assert b"" == client.request(method).content


def test_connections_are_kept(client, serve):
    """Requests one after the other share a connection."""
    shop = serve()
    client.bind(shop)
    client.request("GET", count=5)
    assert 5 == len(shop.requests)
    assert 1 == shop.connections


def test_a_refused_connection_goes_elsewhere(client, serve, dead):
    """An endpoint nobody listens at costs the user nothing, for any method."""
    shop = serve()
    client.bind(dead, shop)
    client.request("POST", count=10)
    assert 10 == len(shop.requests)


def test_keep_alive_race(client, serve):
    """Known hard bug: a server closes an idle connection just as the next request is on its way.

    That request is repeated, as no byte of an answer came; and a client of the mesh lets idle
    connections go long before its servers do.  The naive twin is a POST, which nobody may repeat.
    """
    keep_alive = ServeOptions.__dataclass_fields__["keep_alive"].default
    assert keep_alive == 3 * ConnectConfig().idle
    shop, met = serve(), set()

    def only_once(request, connection):
        if connection in met:
            return False
        met.add(connection)
        return reply(b"ok")(request, connection)

    shop.answer = only_once
    client.bind(shop)
    assert 200 == client.request("GET", count=4).status_code
    assert 4 == shop.connections
    with pytest.raises(client.module.TransportError):
        client.request("POST", count=4)


def test_a_get_cut_off_before_its_reply_goes_elsewhere(client, serve):
    """A connection that breaks after the request is repeated for a GET."""
    bad, good = serve(), serve()
    bad.answer = cut
    client.bind(bad, good)
    response = client.request("GET", count=10)
    assert 200 == response.status_code
    assert 10 == len(good.requests)
    assert bad.requests


def test_a_small_reply_cut_off_half_way_goes_elsewhere(client, serve):
    """Half of a body is no answer: it is repeated like one that never came."""
    bad, good = serve(), serve()

    def half(request, connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        return False

    bad.answer = half
    client.bind(bad, good)
    assert b"ok" == client.request("GET", count=10).content
    assert bad.requests


def test_a_post_cut_off_is_the_users_to_repeat(client, serve):
    """An interrupted POST is a ReadError, and was sent once."""
    bad = serve()
    bad.answer = cut
    client.bind(bad)
    with pytest.raises(client.module.ReadError) as caught:
        client.request("POST", content=b"x")
    assert isinstance(caught.value, errors.Interrupted)
    assert caught.value.sent
    assert 1 == len(bad.requests)


def test_nobody_there_is_a_connect_error(client, dead):
    """When all attempts are refused the user catches httpx's own ConnectError."""
    client.bind(dead)
    with pytest.raises(client.module.ConnectError) as caught:
        client.get("http://shop/x")
    error = caught.value
    assert isinstance(error, errors.ConnectFailed)
    assert ("shop", "/x", 3) == (error.service, error.path, error.attempts)
    assert "http://shop/x" == str(error.request.url)


def test_another_service_is_not_spoken_to(client, serve, ca):
    """A peer with another service's certificate gets no request, and the error names both."""
    impostor = serve("evil")
    client.bind(impostor)
    with pytest.raises(client.module.ConnectError, match="evil") as caught:
        client.get()
    assert isinstance(caught.value, errors.PeerNotTrusted)
    assert [] == impostor.requests


def test_one_good_server_is_found_among_impostors(client, serve):
    """An endpoint that is somebody else is as good as down."""
    impostor, shop = serve("evil"), serve()
    client.bind(impostor, shop)
    assert 200 == client.request("POST", count=10).status_code
    assert [] == impostor.requests


@pytest.mark.parametrize("url", ["http://shop:8080/", "ftp://shop/"])
def test_a_url_that_says_what_the_mesh_decides_is_refused(client, url):
    """A port or another protocol in the URL is an error, not ignored."""
    with pytest.raises(client.module.ConnectError, match="neither a port nor a protocol"):
        client.get(url)


def test_silence_is_a_read_timeout(client, serve):
    """An endpoint that never answers costs the read timeout, and is httpx's ReadTimeout."""
    shop = serve()
    shop.answer = lambda request, connection: bool(connection.recv(1))
    client.bind(shop)
    with pytest.raises(client.module.ReadTimeout):
        client.request("POST", timeout=0.2)


def test_no_time_at_all_is_a_deadline_exceeded(client, serve):
    """The deadline of the policy ends a call that silence alone would not."""
    shop = serve()
    shop.answer = lambda request, connection: bool(connection.recv(1))
    client.config.set(UpstreamConfig(timeout=0.1))
    client.bind(shop)
    with pytest.raises(client.module.ReadTimeout) as caught:
        client.request("POST", timeout=0.1)
    assert isinstance(caught.value, errors.DeadlineExceeded | errors.Interrupted)


def test_a_long_body_is_streamed(client, serve):
    """More than 64 KiB arrive in parts, and the endpoint is busy until the last."""
    shop = serve()
    shop.answer = reply(b"x" * 1_000_000)
    client.bind(shop)
    parts = client.read_parts()
    assert len(parts) > 1
    assert 1_000_000 == sum(map(len, parts))
    assert 0 == client.pending


def test_chunks_are_streamed(client, serve):
    """A body of unknown length arrives whole."""
    shop = serve()
    shop.answer = chunked(b"a" * 100_000, b"b" * 100_000)
    client.bind(shop)
    assert b"a" * 100_000 + b"b" * 100_000 == b"".join(client.read_parts())


def test_a_stream_that_breaks_off_is_told(client, serve):
    """Half a stream is never taken for a whole one."""
    shop = serve()
    shop.answer = chunked(b"a" * 200_000, finish=False)
    client.bind(shop)
    with pytest.raises(client.module.ReadError) as caught:
        client.read_parts()
    assert isinstance(caught.value, errors.Interrupted)
    assert 0 == client.pending


def test_a_streamed_upload_arrives(client, serve):
    """A body that is produced while it is sent arrives whole, however long."""
    shop = serve()
    client.bind(shop)
    parts = [b"p" * 10_000] * 50
    client.request("POST", content=client.stream(parts))
    assert b"".join(parts) == shop.requests[0].body


def test_a_short_streamed_upload_is_repeated(client, serve):
    """A PUT whose body was recorded whole is sent again, byte for byte."""
    shop = serve()
    shop.answer = once(reply(b"", "503 Busy"), reply())
    client.bind(shop)
    response = client.request("PUT", content=client.stream([b"a", b"b"]))
    assert 200 == response.status_code
    assert [b"ab", b"ab"] == [request.body for request in shop.requests]


def test_a_long_streamed_upload_is_not_repeated(client, serve):
    """A PUT of which bytes are gone is not retried: the 503 is the answer."""
    shop = serve()
    shop.answer = reply(b"", "503 Busy")
    client.bind(shop)
    parts = [b"x" * REPLAY_LIMIT, b"y"]
    assert 503 == client.request("PUT", content=client.stream(parts)).status_code
    assert 1 == len(shop.requests)


def test_an_upload_that_fails_half_way_is_the_users_error(client, serve):
    """What the user's stream raises reaches the user; nothing is repeated, nothing completed."""
    shop = serve()
    client.bind(shop)
    with pytest.raises(ZeroDivisionError):
        client.request("PUT", content=client.stream([b"a"], ZeroDivisionError()))
    assert [] == [request for request in shop.requests if request.body]
    assert 0 == client.pending


def test_a_rotation_moves_to_new_connections(client, serve, ca):
    """After a rotation the next request shakes hands anew."""
    shop = serve()
    client.bind(shop)
    client.get()
    client.credentials.set(ca.credentials("front", generation=2))
    client.get()
    assert 2 == shop.connections


def test_cookies_redirects_and_compression_stay_httpxs(client, serve):
    """What is above the transport works as ever."""
    import gzip

    shop = serve()
    packed = gzip.compress(b"unpacked")
    shop.answer = once(
        reply(b"", "302 Found", "location: /next\r\nset-cookie: k=v\r\n"),
        reply(packed, headers="content-encoding: gzip\r\n"),
    )
    client.bind(shop)
    response = client.get(follow_redirects=True)
    assert "unpacked" == response.text
    assert "k=v" == shop.requests[1].headers["cookie"]
    assert "GET /next HTTP/1.1" == shop.requests[1].line


def test_an_attempt_is_one_attempt(client, serve):
    """Known hard bug: aiohttp repeats a request by itself when its connection breaks.

    The server sees as many requests as the error tells of attempts.
    """
    shop = serve()
    shop.answer = cut
    client.bind(shop)
    with pytest.raises(errors.Interrupted) as caught:
        client.get()
    assert caught.value.attempts == len(shop.requests)
