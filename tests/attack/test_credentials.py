"""Every bad credential, tried against every way to call and every server of ours; and good ones."""

from __future__ import annotations

import re
import socket
import ssl

import pytest

from meshlib.testing.arena import Arena
from meshlib.testing.attacks import bad, good
from meshlib.testing.evil import GET, UPGRADE, Heard, ask, careless, dial, meet
from meshlib.testing.http2 import Http2

NOBODY = Arena(0.0)
"""For the names only: what the tests show is made by the arena of the session."""
BAD = {each.name: each.by for each in bad(NOBODY)}
GOOD = {each.name: each.by for each in good(NOBODY)}


def shown_by(role, names):
    return [name for name, roles in names.items() if role in roles]


def with_roles(names):
    return [(name, role) for role in ("client", "server") for name in shown_by(role, names)]


@pytest.fixture(scope="session")
def shown(arena):
    """What a peer shows, by its name."""
    return {each.name: each for each in (*bad(arena), *good(arena))}


@pytest.fixture(scope="session")
def stranger(arena, shown):
    """`stranger(name, server_side=...)`: a careless context that shows it; made once."""
    made = {}

    def context(name, *, server_side):
        key = name, server_side
        if key not in made:
            made[key] = careless(arena, shown[name].leaf, server_side=server_side)
        return made[key]

    return context


def test_there_are_enough():
    """The suite has a hundred bad credentials, all different, and a control group."""
    assert 95 <= len(BAD)
    assert 15 <= len(GOOD)
    assert set() == BAD.keys() & GOOD.keys()


@pytest.mark.parametrize(("name", "role"), with_roles(BAD))
def test_bad_in_memory(our_context, stranger, shown, name, role):
    """Nobody bad gets a byte, and each is refused for the very rule it breaks."""
    serving = role == "client"
    ours, theirs = our_context(server_side=serving), stranger(name, server_side=not serving)
    error, heard = meet(ours, theirs, serving=serving)
    assert b"" == heard
    assert isinstance(error, ssl.SSLCertVerificationError | ssl.SSLError)
    assert re.search(shown[name].why, str(error)), f"refused, but for another reason: {error}"


@pytest.mark.parametrize(("name", "role"), with_roles(GOOD))
def test_good_in_memory(our_context, stranger, name, role):
    """Everybody good is let in and spoken to."""
    serving = role == "client"
    ours, theirs = our_context(server_side=serving), stranger(name, server_side=not serving)
    assert (None, b"for the peer only") == meet(ours, theirs, serving=serving)


def causes(error):
    """Everything that led to an error, however a library wrapped it."""
    found = []
    while isinstance(error, BaseException) and error not in found:
        found.append(error)
        error = getattr(error, "reason", None) or error.__cause__ or error.__context__
    return found


@pytest.mark.parametrize("name", shown_by("server", BAD))
def test_bad_server(call, evil, stranger, name):
    """Whichever way we call, a bad server is an error and hears not one byte of ours."""
    evil.be(stranger(name, server_side=True))
    with pytest.raises(Exception, match=r"(?s).*") as caught:
        call(evil.address)
    assert any(isinstance(each, ssl.SSLError) for each in causes(caught.value)), caught.value
    assert b"" == evil.heard().data


@pytest.mark.parametrize("name", shown_by("server", GOOD))
def test_good_server(call, evil, stranger, name):
    """Whichever way we call, a good server hears us and answers."""
    evil.be(stranger(name, server_side=True))
    assert 200 == call(evil.address)
    heard = evil.heard()
    assert heard.shaken
    assert heard.data.startswith(b"GET /only-for-peer HTTP/1.1\r\n")


@pytest.mark.parametrize("name", shown_by("client", BAD))
def test_bad_client(site, stranger, name):
    """Whichever server it calls, a bad client hears not one byte and reaches no application."""
    before = site.calls()
    for request in (GET, UPGRADE):
        heard = ask(site.address, stranger(name, server_side=False), request)
        assert b"" == heard.data
    assert before == site.calls()


@pytest.mark.parametrize("name", shown_by("client", GOOD))
def test_good_client(site, stranger, name):
    """Whichever server it calls, a good client is served."""
    before = site.calls()
    heard = ask(site.address, stranger(name, server_side=False), GET)
    assert heard.shaken
    assert heard.data.startswith(b"HTTP/1.1 200 ")
    assert [*before, "/"] == site.calls()


def test_a_refused_handshake_is_no_finished_one(evil, arena, our_context):
    """What a test takes for silence is silence: the evil server hears whoever does speak."""
    leaf = next(good(arena)).leaf
    evil.be(careless(arena, leaf, server_side=True))
    anybody = careless(arena, leaf, server_side=False)
    heard = ask(evil.address, anybody, GET)
    assert Heard(shaken=True, data=GET) == evil.heard()
    assert heard.data.endswith(b"evil")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("name", shown_by("client", BAD))
def test_bad_client_in_http2(sites, arena, shown, name, loop):
    """A bad client that speaks HTTP/2 hears not one byte, not even settings."""
    site = sites(f"hypercorn-{loop}")
    before = site.calls()
    context = careless(arena, shown[name].leaf, server_side=False, change=offer_http2)
    assert b"" == ask(site.address, context, HTTP2).data
    assert before == site.calls()


def test_good_client_in_http2(sites, arena):
    """The same request of a good one is answered in HTTP/2, and reaches the application."""
    site = sites("hypercorn-uvloop")
    before = site.calls()
    leaf = next(good(arena)).leaf
    context = careless(arena, leaf, server_side=False, change=offer_http2)
    with dial(site.address) as sock:
        with context.wrap_socket(sock) as tls:
            http = Http2(tls)
            http.over(http.get(b"/asked"))
    assert {1: 200} == http.status
    assert [*before, "/asked"] == site.calls()


def offer_http2(context):
    context.set_alpn_protocols(["h2"])


def http2_request():
    """The bytes of a request, with all that precedes it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        Http2(ours).get(b"/")
        return theirs.recv(65536)


HTTP2 = http2_request()
