"""The aiohttp face, against servers that follow a script."""

from __future__ import annotations

import asyncio
import gzip

import aiohttp
import pytest

from meshlib import errors
from meshlib.adapters.aiohttp import session
from meshlib.adapters.aside_async import Tasks
from meshlib.adapters.engine_async import AsyncEngine
from meshlib.runtime import AsyncRuntime, real_clock


def answer(body=b"ok", status="200 OK", headers="", *, cut=False):
    """An answer with these headers, perhaps cut off in its body."""

    def play(request, connection):
        size = len(body) + (1000 if cut else 0)
        head = f"HTTP/1.1 {status}\r\n{headers}content-length: {size}\r\n\r\n"
        connection.sendall(head.encode() + (b"" if request.line.startswith("HEAD") else body))
        return not cut

    return play


def in_turn(*answers):
    """One answer after the other; the last one for ever."""
    left = list(answers)

    def play(request, connection):
        return (left.pop(0) if len(left) > 1 else left[0])(request, connection)

    return play


@pytest.fixture
def run(shop):
    """Run a coroutine that is given a session; its options are aiohttp's."""

    def running(use, **options):
        async def main():
            engine, aside = AsyncEngine(shop.trust, clock=real_clock, idle=20.0), Tasks()
            stack = shop.stack(engine, AsyncRuntime(rng=shop.rng, aside=aside))
            try:
                async with session(lambda _: stack, **options) as http:
                    return await use(http)
            finally:
                await aside.close()
                await engine.close()

        return asyncio.run(main())

    return running


def pending(shop):
    return sum(state.pending for state in shop.upstream.states())


def test_a_request_arrives_as_aiohttp_makes_it(run, shop, serve):
    """Query, JSON body, headers and the user agent are aiohttp's own; the host is the service."""
    server = serve()
    shop.bind(server)

    async def use(http):
        async with http.post("http://shop/a%20b", params={"q": "ä"}, json={"n": 1}) as response:
            return response.status, await response.text(), str(response.url)

    assert (200, "ok", "http://shop/a%20b?q=%C3%A4") == run(use)
    (request,) = server.requests
    assert "POST /a%20b?q=%C3%A4 HTTP/1.1" == request.line
    assert b'{"n": 1}' == request.body
    assert "shop" == request.headers["host"]
    assert "application/json" == request.headers["content-type"]
    assert request.headers["user-agent"].startswith("Python/")
    assert "x-mesh-retry-credit" in request.headers


def test_the_session_keeps_cookies_and_follows_redirects(run, shop, serve):
    """A cookie that came with a redirect is sent to where it leads."""
    server = serve()
    to = "location: /next\r\nset-cookie: a=1; Path=/\r\n"
    server.answer = in_turn(answer(status="302 Found", headers=to), answer(b"here"))
    shop.bind(server)

    async def use(http):
        async with http.get("http://shop/first") as response:
            return await response.read(), len(response.history), http.cookie_jar

    body, hops, jar = run(use)
    assert (b"here", 1, "a=1") == (body, hops, server.requests[1].headers["cookie"])
    assert ["a"] == [each.key for each in jar]


def test_bodies_are_decompressed_and_raw_headers_kept(run, shop, serve):
    """As with any session; repeated headers stay apart."""
    server = serve()
    more = "content-encoding: gzip\r\nX-Twice: 1\r\nx-twice: 2\r\n"
    server.answer = answer(gzip.compress(b"hello" * 1000), headers=more)
    shop.bind(server)

    async def use(http):
        async with http.get("http://shop/") as response:
            raw = [pair for pair in response.raw_headers if pair[0].lower() == b"x-twice"]
            return await response.read(), raw

    assert (b"hello" * 1000, [(b"X-Twice", b"1"), (b"x-twice", b"2")]) == run(use)


def chunked(*parts, finish=True):
    def play(request, connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for part in parts:
            connection.sendall(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        if finish:
            connection.sendall(b"0\r\n\r\n")
        return finish

    return play


def test_a_long_body_is_streamed(run, shop, serve):
    """Part by part, as it comes; the exchange ends with its last byte."""
    parts = [bytes([n]) * 50_000 for n in range(100)]
    server = serve()
    server.answer = chunked(*parts)
    shop.bind(server)

    async def use(http):
        async with http.get("http://shop/") as response:
            seen = pending(shop)
            return seen, b"".join([part async for part in response.content.iter_chunked(9999)])

    assert (1, b"".join(parts)) == run(use)
    assert 0 == pending(shop)


def test_a_body_that_is_not_wanted(run, shop, serve):
    """Whoever leaves early ends the exchange."""
    server = serve()
    server.answer = chunked(*[b"x" * 50_000] * 100)
    shop.bind(server)

    async def use(http):
        async with http.get("http://shop/"):
            assert 1 == pending(shop)
        return pending(shop)

    assert 0 == run(use)


def test_a_body_without_length_ends_with_its_connection(run, shop, serve):
    """As HTTP/1.0 has it."""
    server = serve()

    def play(request, connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nall of it")
        return False

    server.answer = play
    shop.bind(server)

    async def use(http):
        async with http.get("http://shop/") as response:
            return await response.text()

    assert "all of it" == run(use)


def test_a_body_that_breaks_off(run, shop, serve):
    """The error is one of aiohttp's and of ours."""
    server = serve()
    server.answer = chunked(b"x" * 100_000, finish=False)
    shop.bind(server)

    async def use(http):
        async with http.get("http://shop/") as response:
            with pytest.raises(aiohttp.ServerDisconnectedError) as caught:
                await response.read()
            return caught.value

    assert isinstance(run(use), errors.Interrupted)


def test_what_can_be_repeated_is(run, shop, serve, dead):
    """A connection that is refused, and a reply that is cut off, cost nothing."""
    server = serve()
    server.answer = in_turn(answer(cut=True), answer(b"at last"))
    shop.bind(dead, server)

    async def use(http):
        async with http.get("http://shop/") as response:
            return await response.text()

    assert "at last" == run(use)
    assert 2 == len(server.requests)


def test_aiohttp_does_not_repeat_by_itself(run, shop, serve):
    """It would after a broken connection; the mesh has done so as often as is right."""
    server = serve()
    server.answer = lambda request, connection: False
    shop.bind(server)

    async def use(http):
        with pytest.raises(aiohttp.ServerDisconnectedError) as caught:
            await http.get("http://shop/")
        return caught.value

    failure = run(use)
    assert isinstance(failure, errors.Interrupted)
    assert failure.attempts == len(server.requests)


def test_a_streamed_body_is_repeated_while_it_is_short(run, shop, serve):
    """What a generator gave is recorded and sent again."""
    server = serve()
    server.answer = in_turn(lambda request, connection: False, answer(b"ok"))
    shop.bind(server)

    async def parts():
        yield b"one"
        yield b"two"

    async def use(http):
        async with http.put("http://shop/", data=parts()) as response:
            return await response.text()

    assert "ok" == run(use)
    assert [b"onetwo", b"onetwo"] == [each.body for each in server.requests]


def test_a_file_a_form_and_a_compressed_body(run, shop, serve, tmp_path):
    """aiohttp's payloads write themselves."""
    server = serve()
    shop.bind(server)
    (tmp_path / "file").write_bytes(b"f" * 300_000)

    async def use(http):
        with (tmp_path / "file").open("rb") as file:
            await (await http.post("http://shop/", data=file)).read()
        form = aiohttp.FormData({"a": "1"})
        form.add_field("b", b"2", filename="b.txt")
        await (await http.post("http://shop/", data=form)).read()
        await (await http.post("http://shop/", data=b"z" * 9999, compress="gzip")).read()

    run(use)
    first, second, third = server.requests
    assert b"f" * 300_000 == first.body
    assert b'name="b"; filename="b.txt"' in second.body
    assert b"z" * 9999 == gzip.decompress(third.body)


def test_a_body_that_raises(run, shop, serve):
    """What aiohttp makes of it is what the user gets; the endpoint is not blamed."""
    server = serve()
    shop.bind(server)

    async def parts():
        yield b"one"
        raise KeyError("mine")

    async def use(http):
        with pytest.raises(aiohttp.ClientConnectionError, match="mine") as caught:
            await http.put("http://shop/", data=parts())
        return caught.value

    assert "KeyError" in str(run(use))
    assert [0] == [state.pending for state in shop.upstream.states()]


@pytest.mark.parametrize("options", [{"ssl": False}, {"proxy": "http://127.0.0.1:9"}], ids=str)
def test_nothing_leads_around_the_mesh(run, shop, serve, options):
    """Neither a TLS option nor a proxy: the peer is verified, and it is the mesh's."""
    stranger = serve("stranger")
    shop.bind(stranger)

    async def use(http):
        with pytest.raises(aiohttp.ClientConnectorCertificateError) as caught:
            await http.get("http://shop/", **options)
        return caught.value

    failure = run(use)
    assert isinstance(failure, errors.PeerNotTrusted)
    assert ("shop", failure.__cause__) == (failure.host, failure.certificate_error)
    assert [] == stranger.requests


def test_a_url_no_service_can_have(run):
    """A port is the mesh's business."""

    async def use(http):
        with pytest.raises(aiohttp.ClientConnectorDNSError) as caught:
            await http.get("http://shop:81/")
        return caught.value

    failure = run(use)
    assert isinstance(failure, errors.NoRoute)
    assert ("shop", 81) == (failure.host, failure.port)


def test_time_is_up(run, shop, serve):
    """The user's timeout is the deadline of the call, and the mesh tells of it."""
    server, gone = serve(), asyncio.Event()
    server.answer = lambda request, connection: bool(connection.recv(1))
    shop.bind(server)

    async def use(http):
        with pytest.raises(aiohttp.ServerTimeoutError) as caught:
            await http.get("http://shop/")
        gone.set()
        return caught.value

    failure = run(use, timeout=aiohttp.ClientTimeout(total=0.2))
    assert isinstance(failure, errors.DeadlineExceeded)
    assert isinstance(failure, TimeoutError)
    assert failure.__notes__


def test_middlewares_and_traces_are_the_sessions_own(run, shop, serve):
    """They see one request, however many attempts it takes."""
    server, seen = serve(), []
    server.answer = in_turn(answer(status="503 Later"), answer(b"ok"))
    shop.bind(server)
    tracing = aiohttp.TraceConfig()

    @tracing.on_request_start.append
    async def _(*_args):
        seen.append("start")

    @tracing.on_request_end.append
    async def _(*_args):
        seen.append("end")

    async def between(request, handler):
        request.headers["x-added"] = "1"
        response = await handler(request)
        seen.append(response.status)
        return response

    async def use(http):
        async with http.get("http://shop/") as response:
            return await response.text()

    assert "ok" == run(use, trace_configs=[tracing], middlewares=[between])
    assert ["start", 200, "end"] == seen
    assert ["1", "1"] == [each.headers["x-added"] for each in server.requests]


def test_a_refusal_can_be_raised(run, shop, serve):
    """`raise_for_status` works as ever."""
    server = serve()
    server.answer = answer(status="404 Not Here")
    shop.bind(server)

    async def use(http):
        with pytest.raises(aiohttp.ClientResponseError, match="Not Here"):
            await http.get("http://shop/")

    run(use, raise_for_status=True)


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified", "200 OK"])
def test_answers_without_a_body(run, shop, serve, status):
    """HEAD, 204 and 304 have none, whatever their headers say."""
    server = serve()

    def play(request, connection):
        connection.sendall(f"HTTP/1.1 {status}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        return True

    server.answer = play if status[:3] != "204" else answer(b"", status)
    shop.bind(server)
    method = "HEAD" if status == "200 OK" else "GET"

    async def use(http):
        async with http.request(method, "http://shop/") as response:
            return response.status, await response.read()

    assert (int(status[:3]), b"") == run(use)
