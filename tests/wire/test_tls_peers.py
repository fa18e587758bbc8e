"""Who gets through a handshake, over real sockets: the right ones, and nobody else."""

import asyncio
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from meshlib.control.local.certs import key_usage
from meshlib.testing.ca import ThrowawayCA
from meshlib.trust.pemfile import secret_path
from meshlib.trust.tls import MeshContext, PeerRejected, allow_ids, peer_of
from meshlib.watch import Watch

NOW = time.time()
CA = ThrowawayCA(now=NOW)
FEDERATED = ThrowawayCA("federated.org", now=NOW)
FOREIGN = ThrowawayCA("foreign.org", now=NOW)
IMPOSTOR = ThrowawayCA("example.org", now=NOW)

ME, PEER = CA.id_of("me"), CA.id_of("peer")
WORDS = b"for the peer only"
PATIENCE = 20.0
"""Seconds until a test that hangs is given up; never reached when it passes."""


def uri_names(uri):
    return bytes([0x30, len(uri) + 2, 0x86, len(uri)]) + uri


BAD = {
    "expired": CA.leaf(uris=(PEER,), until=-10),
    "not yet valid": CA.leaf(uris=(PEER,), since=3600),
    "another service": CA.leaf(uris=(CA.id_of("other"),)),
    "a domain without a bundle": CA.leaf(uris=(FOREIGN.id_of("peer"),)),
    "foreign CA": FOREIGN.leaf(uris=(FOREIGN.id_of("peer"),)),
    "foreign CA that claims our domain": IMPOSTOR.leaf(uris=(PEER,)),
    "federated CA that claims our domain": FEDERATED.leaf(uris=(PEER,)),
    "federated CA, not authorized": FEDERATED.leaf(uris=(FEDERATED.id_of("peer"),)),
    "our CA for a federated domain": CA.leaf(uris=(FEDERATED.id_of("peer"),)),
    "two ids": CA.leaf(uris=(PEER, CA.id_of("other"))),
    "DNS name only": CA.leaf(dns=("127.0.0.1", "localhost")),
    "no names": CA.leaf(),
    "no path": CA.leaf(uris=("spiffe://example.org",)),
    "upper-case scheme": CA.leaf(uris=(PEER.replace("spiffe", "SPIFFE"),)),
    "trailing slash": CA.leaf(uris=(PEER + "/",)),
    "percent encoding": CA.leaf(uris=(PEER.replace("peer", "%70eer"),)),
    "query": CA.leaf(uris=(PEER + "?x",)),
    "NUL behind the id": CA.leaf(names=uri_names(PEER.encode() + b"\0.evil")),
    "CA certificate": CA.leaf(
        uris=(PEER,), ca=True, usage=key_usage(digital_signature=True, key_cert_sign=True)
    ),
    "may sign certificates": CA.leaf(
        uris=(PEER,), usage=key_usage(digital_signature=True, key_cert_sign=True)
    ),
    "may sign CRLs": CA.leaf(uris=(PEER,), usage=key_usage(digital_signature=True, crl_sign=True)),
    "may not sign": CA.leaf(uris=(PEER,), usage=key_usage(key_agreement=True)),
}
GOOD = CA.leaf(uris=(PEER,))


def mesh(*, server_side, credentials=None):
    """Our side: it is `me`, federates with federated.org and talks to `peer` alone."""
    credentials = credentials or CA.credentials("me", trust=[FEDERATED])
    watch = Watch(credentials, ready=True)
    authorize = allow_ids(PEER)
    return MeshContext(watch, server_side=server_side, authorize=authorize, clock=time.time)


def stranger(leaf, *, server_side, newest=ssl.TLSVersion.TLSv1_3):
    """The other side: Python's own context, that shows `leaf` and trusts everybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = newest
    if server_side:
        context.verify_mode = ssl.CERT_OPTIONAL
        for ca in (CA, FEDERATED):
            for root in ca.bundle.roots:
                context.load_verify_locations(cadata=root)
    if leaf is not None:
        with secret_path(leaf.key_pem + leaf.chain_pem) as path:
            context.load_cert_chain(path)
    return context


def everything(sock):
    """All bytes until the other side ends it, one way or the other."""
    heard = b""
    try:
        while part := sock.recv(4096):
            heard += part
    except OSError:
        pass
    return heard


def talk(sock, context, *, server_side):
    """The stranger: shake hands, say something, and report every byte it was told."""
    sock.settimeout(PATIENCE)
    with sock:
        try:
            tls = context.wrap_socket(sock, server_side=server_side)
        except OSError:
            return b""
        with tls:
            try:
                tls.sendall(b"evil")
            except OSError:
                return b""
            return everything(tls)


class SyncWorld:
    """Our side on blocking sockets."""

    def meet(self, context, stranger_does, *, server_side):
        """Both sides at once: the peer's words or our exception, and what the stranger heard."""
        with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
            there = socket.create_connection(listener.getsockname())
            here = listener.accept()[0]
            heard = pool.submit(stranger_does, there)
            with here:
                ours = self._ours(here, context, server_side=server_side)
            return ours, heard.result()

    def _ours(self, sock, context, *, server_side):
        sock.settimeout(PATIENCE)
        try:
            with context.wrap_socket(sock, server_side=server_side) as tls:
                tls.sendall(WORDS)
                return peer_of(tls), tls.recv(100)
        except OSError as exc:
            return exc


class AsyncWorld:
    """Our side on asyncio's streams."""

    def meet(self, context, stranger_does, *, server_side):
        """Both sides at once: the peer's words or our exception, and what the stranger heard."""
        meet = self._server if server_side else self._client
        return asyncio.run(asyncio.wait_for(meet(context, stranger_does), 3 * PATIENCE))

    async def _server(self, context, stranger_does):
        met = []

        async def serve(reader, writer):
            met.append(await self._ours(reader, writer))

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        async with server:
            address = server.sockets[0].getsockname()
            there = await asyncio.to_thread(socket.create_connection, address)
            heard = await asyncio.to_thread(stranger_does, there)
        return (met[0] if met else ConnectionError("never connected")), heard

    async def _client(self, context, stranger_does):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            host, port = listener.getsockname()
            heard = asyncio.ensure_future(
                asyncio.to_thread(lambda: stranger_does(listener.accept()[0]))
            )
            try:
                streams = await asyncio.open_connection(host, port, ssl=context)
                ours = await self._ours(*streams)
            except OSError as exc:
                ours = exc
            return ours, await heard

    async def _ours(self, reader, writer):
        peer = peer_of(writer.get_extra_info("ssl_object"))
        writer.write(WORDS)
        try:
            return peer, await reader.read(100)
        finally:
            writer.close()


@pytest.fixture(params=[SyncWorld, AsyncWorld])
def world(request):
    """Every meeting happens on sockets and in asyncio."""
    return request.param()


@pytest.fixture(params=[True, False], ids=["we serve", "we call"])
def server_side(request):
    """Every meeting happens with us on either side."""
    return request.param


def test_right_identity(world, server_side):
    """The peer we expect is let in, its identity is known, and words go both ways."""
    them = stranger(GOOD, server_side=not server_side)
    ours, heard = world.meet(
        mesh(server_side=server_side),
        lambda sock: talk(sock, them, server_side=not server_side),
        server_side=server_side,
    )
    assert not isinstance(ours, Exception), ours
    assert (PEER, "peer", b"evil") == (*_names(ours[0]), ours[1])
    assert WORDS == heard


def _names(peer):
    return peer.identity.spiffe_id, peer.identity.service


@pytest.mark.parametrize("name", BAD)
def test_bad_certificate(world, server_side, name):
    """A peer that breaks one rule is refused by an SSL error and told no byte."""
    them = stranger(BAD[name], server_side=not server_side)
    ours, heard = world.meet(
        mesh(server_side=server_side),
        lambda sock: talk(sock, them, server_side=not server_side),
        server_side=server_side,
    )
    assert b"" == heard
    assert isinstance(ours, OSError), ours
    if not isinstance(ours, ConnectionError):
        assert isinstance(ours, ssl.SSLCertVerificationError), repr(ours)


def test_no_client_certificate(world):
    """A client that shows no certificate is told no byte."""
    them = stranger(None, server_side=False)
    ours, heard = world.meet(
        mesh(server_side=True), lambda sock: talk(sock, them, server_side=False), server_side=True
    )
    assert (True, b"") == (isinstance(ours, OSError), heard)


def test_old_tls(world, server_side):
    """A peer that can do no better than TLS 1.2 is told no byte, whoever it is."""
    them = stranger(GOOD, server_side=not server_side, newest=ssl.TLSVersion.TLSv1_2)
    ours, heard = world.meet(
        mesh(server_side=server_side),
        lambda sock: talk(sock, them, server_side=not server_side),
        server_side=server_side,
    )
    assert (True, b"") == (isinstance(ours, OSError), heard)


@pytest.mark.parametrize("plain", [b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"\0" * 64, b""])
def test_plaintext(world, server_side, plain):
    """A peer that speaks no TLS hears none of our words."""

    def shout(sock):
        with sock:
            sock.settimeout(PATIENCE)
            sock.sendall(plain)
            with suppress(OSError):  # the other side may have closed at the first word
                sock.shutdown(socket.SHUT_WR)
            return everything(sock)

    ours, heard = world.meet(mesh(server_side=server_side), shout, server_side=server_side)
    assert isinstance(ours, OSError)
    assert WORDS not in heard


def test_two_mesh_contexts(world, server_side):
    """Two sides of the mesh understand each other."""
    watch = Watch(CA.credentials("peer"), ready=True)
    them = MeshContext(watch, server_side=not server_side, authorize=allow_ids(ME), clock=time.time)
    ours, heard = world.meet(
        mesh(server_side=server_side),
        lambda sock: talk(sock, them, server_side=not server_side),
        server_side=server_side,
    )
    assert (b"evil", WORDS) == (ours[1], heard)


def test_the_clock_is_the_one_given(world, server_side):
    """Validity is judged on the clock that was passed in, too."""
    context = MeshContext(
        Watch(CA.credentials("me", until=100_000), ready=True),
        server_side=server_side,
        authorize=allow_ids(PEER),
        clock=lambda: NOW + 90_000,
    )
    them = stranger(GOOD, server_side=not server_side)
    ours, heard = world.meet(
        context, lambda sock: talk(sock, them, server_side=not server_side), server_side=server_side
    )
    assert (True, b"") == (isinstance(ours, PeerRejected | ConnectionError), heard)
