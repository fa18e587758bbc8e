"""Connections of ours that outlast what their peer has proven."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time

import pytest

from meshlib.adapters.engine_async import AsyncEngine
from meshlib.adapters.engine_sync import SyncEngine
from meshlib.model import Attempt, Call, Endpoint
from meshlib.runtime import real_clock, run_sync
from meshlib.testing.attacks import good
from meshlib.testing.evil import PATIENCE, careless, meet
from meshlib.trust.tls import peer_of

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def served(arena):
    """The address of a good server that keeps connections alive, and how many it accepted."""
    context = careless(arena, next(good(arena)).leaf, server_side=True)
    accepted = []

    def talk(plain):
        plain.settimeout(PATIENCE)
        try:
            with context.wrap_socket(plain, server_side=True) as tls:
                while tls.recv(65536):
                    tls.sendall(ANSWER)
        except OSError:
            plain.close()

    def accept():
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            accepted.append(threading.Thread(target=talk, args=(plain,), daemon=True))
            accepted[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname(), accepted
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def attempt_at(address):
    call = Call("peer", "GET", "/")
    return Attempt(call, endpoint=Endpoint("peer-1", *address), connect_timeout=PATIENCE)


def test_the_sync_engine_leaves_a_peer_that_has_expired(served, ways):
    """A kept connection is not used once the certificate it was made with has ended."""
    address, accepted = served
    now = [time.time()]
    engine = SyncEngine(ways.trust, clock=real_clock, idle=PATIENCE, unix=lambda: now[0])
    for connections in (1, 1):
        assert 200 == run_sync(engine(attempt_at(address))).status
        assert connections == len(accepted)
    now[0] += 2 * 3600
    assert 200 == run_sync(engine(attempt_at(address))).status
    assert 2 == len(accepted)
    engine.close()


def test_the_async_engine_leaves_a_peer_that_has_expired(served, ways):
    """A kept connection is not used once the certificate it was made with has ended."""
    address, accepted = served
    now = [time.time()]

    async def main():
        engine = AsyncEngine(ways.trust, clock=real_clock, idle=PATIENCE, unix=lambda: now[0])
        seen = []
        for later in (0, 0, 2 * 3600):
            now[0] += later
            reply = await engine(attempt_at(address))
            seen.append((reply.status, len(accepted)))
        await engine.close()
        return seen

    assert [(200, 1), (200, 1), (200, 2)] == asyncio.run(main())


def test_a_chain_is_as_long_lived_as_its_shortest_part(arena, our_context):
    """An intermediate that ends before its leaf ends the trust in a live connection."""
    via = arena.forge.authority(arena.ours.root, until=600.0)
    leaf = arena.forge.shown(arena.issued(via), via)
    theirs = careless(arena, leaf, server_side=False)
    ours = our_context(server_side=True)
    made = []

    class Keeping(ssl.SSLContext):
        def wrap_bio(self, *args, **more):
            made.append(ours.wrap_bio(*args, **more))
            return made[-1]

    assert (None, b"for the peer only") == meet(
        Keeping(ssl.PROTOCOL_TLS_SERVER), theirs, serving=True
    )
    peer = peer_of(made[0])
    credentials = arena.credentials()
    assert peer.still_trusted(credentials, arena.now + 590)
    assert not peer.still_trusted(credentials, arena.now + 601)
