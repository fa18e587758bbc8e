"""Many threads on one connection: few reads, few writes, and a peer that takes long to read."""

from __future__ import annotations

import random
import select
import socket
import struct
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from meshlib.adapters.grpc.direct.blocks import literal
from meshlib.adapters.grpc.direct.connection import frame
from meshlib.adapters.grpc.direct.exchange import Exchange
from meshlib.adapters.grpc.direct.tunnel import Tunnel
from meshlib.adapters.grpc.direct.wire_sync import SyncWire
from meshlib.model import Endpoint
from meshlib.trust.tls import MeshContext
from meshlib.watch import Watch

PATIENCE = 20.0
PREFACE = 24
DATA, HEADERS, SETTINGS, WINDOW_UPDATE = 0, 1, 4, 8
END_STREAM, END_HEADERS = 1, 4
WIDE = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 2**31 - 1))
WIDE += frame(WINDOW_UPDATE, 0, 0, (2**30).to_bytes(4))
"""Windows that hold nothing back: what is full is the socket."""
NOT_FOUND = b"\x88" + literal("content-type", "application/grpc") + literal("grpc-status", "5")
CALLERS = 6


@pytest.fixture
def tls(ca):
    """TLS of a member of the mesh."""

    def context(service, *, server_side):
        return MeshContext(
            Watch(ca.credentials(service), ready=True),
            server_side=server_side,
            authorize=lambda _: True,
            clock=time.time,
            alpn=("h2",),
        )

    return context


@pytest.fixture
def narrow(tls, shop):
    """A peer whose socket takes little at a time, and who says NOT_FOUND to each call."""

    def answer():
        plain, _ = listener.accept()
        context = tls("shop", server_side=True)
        with context.wrap_socket(plain, server_side=True) as peer, peer.makefile("rb") as said:
            peer.sendall(WIDE)
            said.read(PREFACE)
            while head := said.read(9):
                said.read(int.from_bytes(head[:3]))
                kind, flags, stream = head[3], head[4], int.from_bytes(head[5:])
                if kind == DATA and flags & END_STREAM:
                    peer.sendall(frame(HEADERS, END_STREAM | END_HEADERS, stream, NOT_FOUND))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        speaker = threading.Thread(target=answer)
        speaker.start()
        port = listener.getsockname()[1]
        shop.bind(Endpoint(f"shop-{port}", "127.0.0.1", port))
        yield
    speaker.join(PATIENCE)


def test_many_that_are_stuck(narrow, sync_face):
    """Each waits for the socket, and each is answered."""
    messages = [random.Random(seed).randbytes(1_000_000) for seed in range(CALLERS)]

    def code(message):
        with pytest.raises(grpc.RpcError) as caught:
            sync_face.call("Play", message, timeout=PATIENCE)
        return caught.value.code()

    with ThreadPoolExecutor(CALLERS) as pool:
        assert [grpc.StatusCode.NOT_FOUND] * CALLERS == list(pool.map(code, messages))


class Held(Tunnel):
    """Its first send takes until `gate` opens."""

    def __init__(self, *args):
        super().__init__(*args)
        self.sending, self.gate, self.sizes = threading.Event(), threading.Event(), []

    def send(self, data):
        self.sending.set()
        self.gate.wait(PATIENCE)
        self.sizes.append(len(data))
        super().send(data)


class Clock:
    """Stands still, and knows who waits: they have asked it a second time."""

    def __init__(self):
        self.asked, self.waiting = Counter(), threading.Semaphore(0)

    def __call__(self):
        me = threading.get_ident()
        self.asked[me] += 1
        if self.asked[me] == 2:
            self.waiting.release()
        return 0.0


@pytest.fixture
def held(tls):
    """A wire whose first send is held up."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()

    def listen():
        with tls("shop", server_side=True).wrap_socket(theirs, server_side=True) as peer:
            while peer.recv(65536):
                pass

    listener = threading.Thread(target=listen)
    listener.start()
    tunnel = Held(ours, tls("front", server_side=False))
    readable = select.poll()
    readable.register(tunnel, select.POLLIN)
    while not tunnel.shake():
        assert readable.poll(PATIENCE * 1000)
        tunnel.fill()
    wire = SyncWire(tunnel, Clock())
    yield wire
    wire.retire()
    listener.join(PATIENCE)


def test_who_comes_while_another_sends(held):
    """Has it sent by that one, with what all others say, at once."""
    tunnel, clock = held._tunnel, held._clock

    def call(_):
        exchange = Exchange(b"\x83", b"x" * 100, -1)
        assert held.enter()
        try:
            held.call(exchange, 1e9)
        finally:
            held.leave()
        return exchange

    with ThreadPoolExecutor(CALLERS) as pool:
        first = pool.submit(call, 0)
        assert tunnel.sending.wait(PATIENCE)
        others = [pool.submit(call, each) for each in range(CALLERS - 1)]
        for _ in others:
            assert clock.waiting.acquire(timeout=PATIENCE)
        tunnel.gate.set()
        assert clock.waiting.acquire(timeout=PATIENCE)
        held.break_off()
        assert all(each.result().error for each in [first, *others])
    assert len(tunnel.sizes) == 2
