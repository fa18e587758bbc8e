"""Peers with Python's own TLS, that trust everybody, show what they are given and count bytes."""

from __future__ import annotations

import queue
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from meshlib.testing.arena import Arena
from meshlib.trust.bundle import LeafCert
from meshlib.trust.pemfile import secret_path

PATIENCE = 20.0
"""Seconds until a peer gives up; never reached when nothing hangs."""
REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nevil"
GET = b"GET / HTTP/1.1\r\nHost: me\r\nConnection: close\r\n\r\n"
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: me\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)

Change = Callable[[ssl.SSLContext], None]


def careless(
    arena: Arena, leaf: LeafCert | None, *, server_side: bool, change: Change | None = None
) -> ssl.SSLContext:
    """A context that shows `leaf` and lets anybody in.

    `change` makes it worse still.  A server asks for the client's certificate, so that a client
    has the occasion to show one.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")  # keys of any size
    if server_side:
        context.verify_mode = ssl.CERT_OPTIONAL
        for root in arena.ours.bundle.roots:
            context.load_verify_locations(cadata=root)
    if leaf is not None:
        with secret_path(leaf.key_pem + leaf.chain_pem) as path:
            context.load_cert_chain(path)
    if change is not None:
        change(context)
    return context


@dataclass(frozen=True, slots=True)
class Heard:
    """What one connection brought."""

    shaken: bool
    """Whether the handshake ended well, as far as this peer could see."""
    data: bytes
    """Everything the other side said after it."""


class EvilServer:
    """Takes one connection after the other, and answers any request with a 200.

    It runs in a thread from `with` on; `heard` waits for what the last connection brought.
    """

    def __init__(self) -> None:
        self._context: ssl.SSLContext | None = None
        self._heard: queue.Queue[Heard] = queue.Queue()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.address: tuple[str, int] = self._listener.getsockname()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def be(self, context: ssl.SSLContext) -> None:
        """Use this context from now on."""
        self._context = context
        while not self._heard.empty():
            self._heard.get()

    def heard(self) -> Heard:
        """What the next connection that ends has brought."""
        return self._heard.get(timeout=PATIENCE)

    def _run(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            self._heard.put(self._listen_to(accepted))

    def _listen_to(self, accepted: socket.socket) -> Heard:
        accepted.settimeout(PATIENCE)
        assert self._context is not None  # noqa: S101 - told by `be`
        try:
            tls = self._context.wrap_socket(accepted, server_side=True)
        except OSError:
            accepted.close()
            return Heard(shaken=False, data=b"")
        with tls:
            return Heard(shaken=True, data=_request(tls))


def dial(address: tuple[str, int]) -> socket.socket:
    """Connect without Nagle's algorithm.

    With it the first request after a handshake waits for the kernel's delayed acknowledgement of
    the client's last flight (40 ms on Linux), as a server without tickets has nothing to say then.
    """
    sock = socket.create_connection(address, timeout=PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def ask(address: tuple[str, int], context: ssl.SSLContext, request: bytes) -> Heard:
    """The evil client: shake hands, send `request`, and hear all there is to hear."""
    with dial(address) as sock:
        try:
            tls = context.wrap_socket(sock, server_hostname="backend")
        except OSError:
            return Heard(shaken=False, data=b"")
        with tls:
            with suppress(OSError):
                tls.sendall(request)
            return Heard(shaken=True, data=everything(tls))


def meet(
    ours: ssl.SSLContext, theirs: ssl.SSLContext, *, serving: bool, **theirs_more: Any
) -> tuple[ssl.SSLError | None, bytes]:
    """Shake hands in memory: our error, and what the stranger can read once we have spoken.

    `serving`: whether ours is the server.
    """
    back, forth = ssl.MemoryBIO(), ssl.MemoryBIO()
    us = ours.wrap_bio(back, forth, server_side=serving)
    them = theirs.wrap_bio(forth, back, server_side=not serving, **theirs_more)
    error: ssl.SSLError | None = None
    for _ in range(4):
        with suppress(ssl.SSLError):
            them.do_handshake()
        try:
            us.do_handshake()
            us.write(b"for the peer only")
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as exc:
            error = error or exc
    try:
        return error, them.read(100)
    except ssl.SSLError:
        return error, b""


def everything(sock: socket.socket, until: bytes = b"") -> bytes:
    """All bytes until the other side ends it, one way or the other, or has said `until`."""
    heard = bytearray()
    with suppress(OSError):
        while part := sock.recv(65536):
            heard += part
            if until and until in heard:
                break
    return bytes(heard)


def _request(tls: ssl.SSLSocket) -> bytes:
    """Hear a request, or whatever else is said, and answer it."""
    heard = bytearray()
    with suppress(OSError):
        while part := tls.recv(65536):
            heard += part
            if b"\r\n\r\n" in heard:
                tls.sendall(REPLY)
                break
    return bytes(heard)
