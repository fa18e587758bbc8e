"""What a call comes to over an open connection, past urllib3, and over a new one, through it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from multidict import CIMultiDict

from meshlib.adapters.body import BytesBody
from meshlib.adapters.engine_sync import SyncEngine, _Pool
from meshlib.errors import Interrupted
from meshlib.model import EMPTY_BODY, Attempt, Call, Target
from meshlib.runtime import real_clock, run_sync

_OK = b"HTTP/1.1 200 OK\r\n"
_TWO = b"Content-Length: 2\r\n"
_LARGE = b"x" * 200_000
REPLIES = {
    "small": _OK + _TWO + b"\r\nok",
    "repeated headers": _OK + b"x-a: 1\r\nX-A: \t2 \r\nEmpty:\r\n" + _TWO + b"\r\nok",
    "no reason": b"HTTP/1.1 404\r\n" + _TWO + b"\r\nok",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "no content, of a length": b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    "not modified": b"HTTP/1.1 304 Not Modified\r\n" + _TWO + b"\r\n",
    "early hint": b"HTTP/1.1 100 Continue\r\n\r\n" + _OK + _TWO + b"\r\nok",
    "chunked": _OK + b"transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "broken chunks": _OK + b"transfer-encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n",
    "large": _OK + b"content-length: %d\r\n\r\n" % len(_LARGE) + _LARGE,
    "closing": _OK + b"connection: close\r\n" + _TWO + b"\r\nok",
    "old": b"HTTP/1.0 200 OK\r\n" + _TWO + b"\r\nok",
    "folded": _OK + b"x: a \r\n  b\r\n\tc\r\ny: d\r\n" + _TWO + b"\r\nok",
    "latin": _OK + b"x: gr\xfc\xdfe\r\n" + _TWO + b"\r\nok",
    "two lengths": _OK + b"Content-Length: 1, 2\r\n\r\nok",
    "no length": _OK + b"Content-Length: many\r\n\r\n",
    "no http": b"SMTP\r\n\r\n",
    "a long line": _OK + b"x: " + b"a" * 70_000 + b"\r\n" + _TWO + b"\r\nok",
    "many lines": _OK + b"x: a\r\n" * 200 + _TWO + b"\r\nok",
    "nothing": b"",
    "half a head": _OK + b"content-le",
    "half a body": _OK + _TWO + b"\r\no",
    "half a large body": _OK + b"content-length: 300000\r\n\r\n" + _LARGE,
    "half a chunk": _OK + b"transfer-encoding: chunked\r\n\r\n10\r\nok",
}
UNFINISHED = {"nothing", "no length"} | {name for name in REPLIES if name.startswith("half")}
"""Those after which one would wait for more."""


@pytest.fixture
def engine(shop):
    """Nothing is open yet."""
    engine = SyncEngine(shop.trust, clock=real_clock, idle=20.0)
    yield engine
    engine.close()


def playing(data, *, stays):
    """Answers `data`, except to who warms up."""

    def answer(request, connection):
        warm = "/warm" in request.line
        connection.sendall(_OK + _TWO + b"\r\nup" if warm else data)
        return warm or stays

    return answer


def attempt_at(server, path="/", method="GET", body=EMPTY_BODY, **limits):
    headers = CIMultiDict(host="shop")
    call = Call("shop", method, path, "", headers, body, target=Target("shop"), **limits)
    return Attempt(call, endpoint=server.endpoint, connect_timeout=5.0)


def outcome(engine, attempt):
    try:
        reply = run_sync(engine(attempt))
        body = b"".join(reply) if reply.content is None else reply.content
    except Interrupted as exc:
        return exc.why, exc.timed_out
    return reply.status, reply.reason, list(reply.raw_headers), body, reply.closed


def warm_up(engine, server):
    assert b"up" == outcome(engine, attempt_at(server, "/warm"))[3]


def never(*_, **__):
    raise AssertionError


def both(serve, engine, monkeypatch, data, *, stays, **request):
    """What comes of it through urllib3, and past it; and how many connections each has needed."""
    through, past = serve(), serve()
    through.answer = past.answer = playing(data, stays=stays)
    expected = outcome(engine, attempt_at(through, **request))
    warm_up(engine, past)
    with monkeypatch.context() as patched:
        patched.setattr(_Pool, "urlopen", never)
        found = outcome(engine, attempt_at(past, **request))
    for server in (through, past):
        warm_up(engine, server)
    asked = [it.body for it in through.requests if "/warm" not in it.line]
    assert asked == [it.body for it in past.requests if "/warm" not in it.line]
    return (expected, through.connections), (found, past.connections)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("stays", [True, False])
@pytest.mark.parametrize("name", REPLIES)
def test_both_ways_lead_to_the_same(serve, engine, monkeypatch, name, stays, method):
    """The same reply or error, and the connection is used again or not."""
    body = BytesBody(b"body") if method == "POST" else EMPTY_BODY
    through, past = both(
        serve,
        engine,
        monkeypatch,
        REPLIES[name],
        stays=stays and name not in UNFINISHED,
        method=method,
        body=body,
    )
    assert through == past


@pytest.mark.parametrize("name", ["small", "large", "chunked", "no content", "closing"])
def test_a_head_has_no_body(serve, engine, monkeypatch, name):
    """Whatever its headers say; the connection is used again."""
    head = REPLIES[name].partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    through, past = both(serve, engine, monkeypatch, head, stays=True, method="HEAD")
    assert through == past
    assert b"" == past[0][3]


def test_more_than_the_reply_is_no_other_reply(serve, engine, monkeypatch):
    """What follows a whole reply without having been asked for is read by nobody."""
    server = serve()
    server.answer = playing(REPLIES["small"] + REPLIES["small"], stays=True)
    warm_up(engine, server)
    assert b"ok" == outcome(engine, attempt_at(server))[3]
    warm_up(engine, server)
    assert 2 == server.connections


def test_a_silent_server_is_waited_for_no_longer_than_allowed(serve, engine):
    """The limit of silence holds over an open connection, which nobody uses any more."""
    server, over = serve(), threading.Event()

    def answer(request, connection):
        if "/warm" in request.line:
            return playing(b"", stays=True)(request, connection)
        connection.sendall(_OK + _TWO + b"\r\no")
        return not over.wait(20)

    server.answer = answer
    warm_up(engine, server)
    try:
        why, timed_out = outcome(engine, attempt_at(server, read_timeout=0.05))
    finally:
        over.set()
    assert ("no byte came within the time allowed", True) == (why, timed_out)
    warm_up(engine, server)
    assert 2 == server.connections


def test_many_threads_get_what_each_asked_for(serve, engine):
    """No connection is two callers' at a time."""
    server = serve()

    def answer(request, connection):
        said = request.line.encode()
        connection.sendall(_OK + b"content-length: %d\r\n\r\n" % len(said))
        connection.sendall(said)
        return True

    def ask(number):
        paths = [f"/{number}/{each}" for each in range(40)]
        bodies = [outcome(engine, attempt_at(server, path))[3] for path in paths]
        return bodies == [f"GET {path} HTTP/1.1".encode() for path in paths]

    server.answer = answer
    with ThreadPoolExecutor(6) as threads:
        assert all(threads.map(ask, range(6)))


@pytest.mark.parametrize("is_warm", [True, False])
def test_the_first_frames_of_a_websocket(serve, engine, monkeypatch, is_warm):
    """What came with the 101 is the connection's, and so is what comes later."""
    server, frames = serve(), b"f" * 10_000
    head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"

    def answer(request, connection):
        if "/warm" in request.line:
            return playing(b"", stays=True)(request, connection)
        connection.sendall(head + frames)
        connection.sendall(connection.recv(4))
        return False

    server.answer = answer
    if is_warm:
        warm_up(engine, server)
        monkeypatch.setattr(_Pool, "urlopen", never)
    reply = run_sync(engine(attempt_at(server)))
    upgraded, came = reply.upgraded, b""
    while len(came) < len(frames):
        came += upgraded.read(20_000, 5.0)
    upgraded.write(b"more", 5.0)
    assert (frames, b"more") == (came, upgraded.read(20_000, 5.0))
    run_sync(reply.discard())
    assert 1 == server.connections
