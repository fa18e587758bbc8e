"""Sockets of ours after their handshake: half closed, or accepted by a wrapped listener."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import replace

import pytest

from meshlib.testing.attacks import good
from meshlib.testing.evil import GET, PATIENCE, ask, careless, everything
from meshlib.trust.bundle import TrustBundle
from meshlib.trust.tls import MeshContext, member_of
from meshlib.watch import Watch


@pytest.fixture(scope="session")
def leaf(arena):
    """A good one: what is wrong here is something else."""
    return next(good(arena)).leaf


def loopback():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        away = socket.create_connection(listener.getsockname(), timeout=PATIENCE)
        here = listener.accept()[0]
    here.settimeout(PATIENCE)
    return here, away


@pytest.fixture
def proven(arena, leaf, our_context):
    """Our end of a connection with a good peer, and the bare socket beneath theirs."""
    here, away = loopback()
    theirs = careless(arena, leaf, server_side=False)
    bare = socket.fromfd(away.fileno(), away.family, away.type)
    bare.settimeout(PATIENCE)
    kept = []
    thread = threading.Thread(target=lambda: kept.append(theirs.wrap_socket(away)))
    thread.start()
    tls = our_context(server_side=True).wrap_socket(here, server_side=True)
    thread.join()
    yield tls, bare
    for each in (tls, bare, *kept):
        each.close()


@pytest.mark.parametrize("how", [socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR])
@pytest.mark.parametrize("send", ["send", "sendall", "write"])
def test_nothing_is_said_in_clear_after_shutdown(proven, how, send):
    """An SSLSocket speaks plaintext once one half is closed; ours does not."""
    tls, bare = proven
    tls.shutdown(how)
    with suppress(OSError, ValueError):
        getattr(tls, send)(b"for the peer only")
    tls.close()
    assert b"for the peer only" not in everything(bare)


@pytest.mark.parametrize("how", [socket.SHUT_RD, socket.SHUT_WR])
@pytest.mark.parametrize(
    "read",
    [
        lambda tls: tls.recv(100),
        lambda tls: tls.read(100),
        lambda tls: tls.recv_into(bytearray(100)),
        lambda tls: tls.makefile("rb").read(8),
    ],
    ids=["recv", "read", "recv_into", "makefile"],
)
def test_nothing_is_heard_in_clear_after_shutdown(proven, how, read):
    """Whoever sits on the line cannot put words into the mouth of a peer that was proven."""
    tls, bare = proven
    tls.shutdown(how)
    bare.sendall(b"injected")
    with suppress(OSError, ValueError):
        assert not read(tls)


def test_a_wrapped_listener_rotates(arena, leaf):
    """Connections accepted by a wrapped listening socket are on the newest credentials."""
    watch = Watch(arena.credentials(), ready=True)
    ours = MeshContext(watch, server_side=True, authorize=member_of("example.org"), clock=time.time)
    listener = ours.wrap_socket(
        socket.create_server(("127.0.0.1", 0)), server_side=True, do_handshake_on_connect=False
    )
    retired = {"example.org": TrustBundle("example.org", arena.retired.bundle.roots)}
    watch.set(replace(watch.value, bundles=retired, generation=2))
    heard = []

    def knock():
        heard.append(ask(listener.getsockname(), careless(arena, leaf, server_side=False), GET))

    thread = threading.Thread(target=knock)
    thread.start()
    accepted, _ = listener.accept()
    accepted.settimeout(PATIENCE)
    with listener, accepted, pytest.raises(ssl.SSLCertVerificationError):
        accepted.sendall(b"for the peer only")
    thread.join()
    assert b"" == heard[0].data
