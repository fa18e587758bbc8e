"""What a MeshContext allows and what it refuses, whoever holds it."""

import os
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pytest

from meshlib.errors import IdentityUnavailable
from meshlib.testing.ca import ThrowawayCA
from meshlib.trust.handshake import OwnLeafNotValid
from meshlib.trust.pemfile import secret_path
from meshlib.trust.tls import (
    MeshContext,
    PeerRejected,
    allow_ids,
    member_of,
    peer_of,
)
from meshlib.watch import Watch

NOW = time.time()
CA = ThrowawayCA(now=NOW)
PATIENCE = 20.0


def mesh(service, *, server_side, authorize=None, watch=None, **more):
    watch = watch or Watch(CA.credentials(service), ready=True)
    authorize = authorize or member_of("example.org")
    return MeshContext(watch, server_side=server_side, authorize=authorize, clock=time.time, **more)


def plain(*, server_side, newest=ssl.TLSVersion.TLSv1_3):
    """Python's own context with a good certificate of `peer`, that trusts our CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = newest
    for root in CA.bundle.roots:
        context.load_verify_locations(cadata=root)
    leaf = CA.leaf(uris=(CA.id_of("peer"),))
    with secret_path(leaf.key_pem + leaf.chain_pem) as path:
        context.load_cert_chain(path)
    return context


@pytest.fixture
def pair():
    """Two connected sockets on loopback, server first."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=PATIENCE)
        server = listener.accept()[0]
        server.settimeout(PATIENCE)
    with client, server:
        yield server, client


@pytest.fixture
def pool():
    """A thread for the other side."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


def greet(context, sock, words=b"hello", **more):
    """Serve one connection: greet, wait for the end, and tell who it was."""
    with context.wrap_socket(sock, server_side=True, **more) as tls:
        tls.sendall(words)
        with suppress(ConnectionResetError):  # an end without having read the words is one too
            tls.recv(100)
        return peer_of(tls)


@pytest.mark.parametrize("server_side", [True, False])
def test_cannot_be_weakened(server_side):
    """Whatever would change what is shown or trusted raises."""
    context = mesh("me", server_side=server_side)
    for name, *arguments in (
        ("load_cert_chain", os.devnull),
        ("load_verify_locations", os.devnull),
        ("load_default_certs",),
        ("set_default_verify_paths",),
        ("set_ciphers", "ALL"),
    ):
        with pytest.raises(TypeError, match="cannot be changed"):
            getattr(context, name)(*arguments)
    for mode in (ssl.CERT_NONE, ssl.CERT_OPTIONAL):
        with pytest.raises(ValueError, match="CERT_REQUIRED"):
            context.verify_mode = mode
    context.verify_mode = ssl.CERT_REQUIRED
    assert ssl.CERT_REQUIRED == context.verify_mode


def test_host_names_change_nothing():
    """Assigning check_hostname, as urllib3 does, neither helps nor harms."""
    context = mesh("me", server_side=False)
    context.check_hostname = False
    assert context.check_hostname
    assert not mesh("me", server_side=True).check_hostname


def test_authorize_and_clock_are_required():
    """There is no context without an authorizer or a clock."""
    watch = Watch(CA.credentials("me"), ready=True)
    with pytest.raises(TypeError, match="authorize"):
        MeshContext(watch, server_side=False, clock=time.time)
    with pytest.raises(TypeError, match="clock"):
        MeshContext(watch, server_side=False, authorize=member_of("x"))


@pytest.mark.parametrize("server_side", [True, False])
def test_the_wrong_side_is_an_error(server_side, pair):
    """A client context cannot serve, and a server context cannot call."""
    context = mesh("me", server_side=server_side)
    with pytest.raises(ValueError, match="side"):
        context.wrap_socket(pair[0], server_side=not server_side)
    with pytest.raises(ValueError, match="side"):
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=not server_side)


@pytest.mark.parametrize("server_side", [True, False])
def test_the_context_behind_it_fails_closed(server_side, pair, pool):
    """Code that gets around the overrides, down to the C context, completes no handshake."""
    context = mesh("me", server_side=server_side)
    other = plain(server_side=not server_side)
    here, away = pair if server_side else pair[::-1]
    there = pool.submit(other.wrap_socket, away, server_side=not server_side)
    host = None if server_side else "127.0.0.1"
    with pytest.raises(ssl.SSLError):
        ssl.SSLContext.wrap_socket(
            context, here, server_side=server_side, server_hostname=host
        ).recv(1)
    assert isinstance(there.exception(), ssl.SSLError)


def test_bad_credentials_are_found_at_once():
    """A key that is not the certificate's is an error when the context is made."""
    good, other = CA.credentials("me"), CA.credentials("other")
    broken = replace(good, leaf=replace(good.leaf, key_pem=other.leaf.key_pem))
    with pytest.raises(IdentityUnavailable, match="svc/me") as caught:
        mesh("me", server_side=True, watch=Watch(broken, ready=True))
    assert "PRIVATE" not in str(caught.value)


ENTRIES = {
    "read": lambda tls: tls.read(10),
    "recv": lambda tls: tls.recv(10),
    "recv_into": lambda tls: tls.recv_into(bytearray(10)),
    "write": lambda tls: tls.write(b"secret"),
    "send": lambda tls: tls.send(b"secret"),
    "sendall": lambda tls: tls.sendall(b"secret"),
    "makefile": lambda tls: tls.makefile("rb").read(10),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_implicit_handshake_is_checked(entry, pair, pool):
    """Every way to read or write verifies the peer first, again and again."""
    context = mesh("me", server_side=False, authorize=allow_ids(CA.id_of("other")))
    server = mesh("peer", server_side=True)
    served = pool.submit(greet, server, pair[0])
    tls = context.wrap_socket(pair[1], do_handshake_on_connect=False)
    for _ in range(2):
        with pytest.raises(PeerRejected):
            ENTRIES[entry](tls)
    assert peer_of(tls) is None
    tls.close()
    assert CA.id_of("me") == str(served.result().spiffe_id)


def test_the_implicit_handshake_succeeds(pair, pool):
    """Reading without a handshake makes one, and then knows the peer."""
    served = pool.submit(greet, mesh("peer", server_side=True), pair[0])
    with mesh("me", server_side=False).wrap_socket(pair[1], do_handshake_on_connect=False) as tls:
        assert peer_of(tls) is None
        assert b"hello" == tls.recv(10)
        assert CA.id_of("peer") == str(peer_of(tls).spiffe_id)
        tls.sendall(b"bye")
        assert CA.id_of("me") == str(served.result().spiffe_id)


@pytest.mark.parametrize("connect", ["connect", "connect_ex"])
def test_a_socket_that_was_refused_never_speaks_plaintext(connect, pool):
    """After a failed handshake in connect() the socket is closed; ssl alone goes on in clear."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = mesh("peer", server_side=True)
        served = pool.submit(lambda: greet(server, listener.accept()[0]))
        nobody = mesh("me", server_side=False, authorize=lambda _: False)
        tls = nobody.wrap_socket(socket.socket())
        with pytest.raises(PeerRejected):
            getattr(tls, connect)(listener.getsockname())
        assert -1 == tls.fileno()
        with pytest.raises(OSError, match=r"."):
            tls.sendall(b"secret")
        served.exception()


def test_tls_1_3_without_tickets(pair, pool):
    """The default is TLS 1.3, and a client is given nothing to resume with."""
    served = pool.submit(greet, mesh("me", server_side=True), pair[0])
    with plain(server_side=False).wrap_socket(pair[1]) as tls:
        tls.recv(10)
        assert "TLSv1.3" == tls.version()
        assert not tls.session.has_ticket
        tls.sendall(b"bye")
        served.result()


def test_tls_1_2_has_aead_suites_only(pair, pool):
    """With TLS 1.2 allowed, only authenticated encryption with forward secrecy is left."""
    old = mesh("me", server_side=True, min_version=ssl.TLSVersion.TLSv1_2)
    served = pool.submit(greet, old, pair[0])
    client = plain(server_side=False, newest=ssl.TLSVersion.TLSv1_2)
    with client.wrap_socket(pair[1]) as tls:
        tls.recv(10)
        assert "TLSv1.2" == tls.version()
        tls.sendall(b"bye")
        served.result()
    suites = {suite["name"] for suite in old._inner().get_ciphers()}
    assert {True} == {"GCM" in name or "CHACHA20" in name for name in suites}


def test_tls_1_2_without_forward_secrecy_is_refused(pair, pool):
    """A client of TLS 1.2 that offers CBC only finds no common suite."""
    old = mesh("me", server_side=True, min_version=ssl.TLSVersion.TLSv1_2)
    served = pool.submit(greet, old, pair[0])
    client = plain(server_side=False, newest=ssl.TLSVersion.TLSv1_2)
    client.set_ciphers("ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA")
    with pytest.raises(OSError, match=r"."):
        client.wrap_socket(pair[1])
    with pytest.raises(ssl.SSLError, match="NO_SHARED_CIPHER"):
        served.result()


def loopback_pair():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=PATIENCE)
        server = listener.accept()[0]
        server.settimeout(PATIENCE)
        return server, client


def test_a_resumed_session_is_refused(pool):
    """Our client resumes with nobody: a session has no chain that could be checked today."""
    server, context = plain(server_side=True), mesh("me", server_side=False)
    session = first_session(pool, server, context)
    here, there = loopback_pair()
    served = pool.submit(greet, server, here)
    with there, pytest.raises(PeerRejected, match="resumed"):
        context.wrap_socket(there, session=session)
    served.exception()


def comes_back(pool, context, session):
    """Whether a client of TLS 1.2 is taken at its old session, and what it hears."""
    here, there = loopback_pair()
    served = pool.submit(greet, context, here)
    client = session["context"]
    with client.wrap_socket(there, session=session["session"]) as tls:
        reused, heard = tls.session_reused, b""
        with suppress(OSError):
            heard = tls.recv(100)
    return reused, heard, served.exception()


def visited(pool, context):
    """A client of TLS 1.2 that Python's API lets come back, and its session."""
    client = plain(server_side=False, newest=ssl.TLSVersion.TLSv1_2)
    return {"context": client, "session": first_session(pool, context, client)}


def test_our_server_resumes_what_it_remembers(pool):
    """Envoy comes back with its session of TLS 1.2, and must not be turned away for it."""
    context = mesh("me", server_side=True, min_version=ssl.TLSVersion.TLSv1_2)
    reused, heard, error = comes_back(pool, context, visited(pool, context))
    assert (True, None) == (reused, error)
    assert heard


def test_our_server_resumes_nothing_unknown(pool):
    """Without the anchor of the session no byte is told: nothing could be checked today."""
    context = mesh("me", server_side=True, min_version=ssl.TLSVersion.TLSv1_2)
    session = visited(pool, context)
    context._inner().sessions._known.clear()
    reused, heard, error = comes_back(pool, context, session)
    assert (True, b"") == (reused, heard)
    assert isinstance(error, PeerRejected)


def test_sessions_do_not_outlast_a_rotation(pool):
    """Once anything of the trust has changed, everybody shakes hands in full."""
    watch = Watch(CA.credentials("me"), ready=True)
    context = mesh("me", server_side=True, watch=watch, min_version=ssl.TLSVersion.TLSv1_2)
    session = visited(pool, context)
    watch.set(CA.credentials("me", generation=2))
    reused, heard, error = comes_back(pool, context, session)
    assert (False, None) == (reused, error)
    assert heard


def first_session(pool, server, client):
    """The session of a first, good connection, ended as TLS wants it."""

    def serve(sock):
        with server.wrap_socket(sock, server_side=True) as tls:
            tls.sendall(b"hello")
            tls.unwrap().close()

    here, there = loopback_pair()
    served = pool.submit(serve, here)
    with client.wrap_socket(there) as tls:
        tls.recv(10)
        session = tls.session
        tls.unwrap().close()
    served.result()
    return session


def test_an_expired_certificate_is_not_shown_to_a_server(pair):
    """A client says so itself, at once: a server's refusal would reach it after its request."""
    watch = Watch(CA.credentials("me", until=-5.0), ready=True)
    context = mesh("me", server_side=False, watch=watch)
    with pytest.raises(OwnLeafNotValid, match=r"expired .* s ago"):
        context.wrap_socket(pair[1])
    assert b"" == pair[0].recv(1)


def test_a_client_asks_for_the_name_it_was_given(pair, pool):
    """SNI is what the mesh says, whatever the library connects to."""
    asked = []
    server = plain(server_side=True)
    server.sni_callback = lambda _connection, name, _context: asked.append(name)
    served = pool.submit(greet, server, pair[0])
    client = mesh("me", server_side=False, server_name="v1.db.default.dc1.internal.example.org")
    with client.wrap_socket(pair[1], server_hostname="127.0.0.1") as tls:
        tls.recv(10)
        tls.sendall(b"bye")
        served.result()
    assert ["v1.db.default.dc1.internal.example.org"] == asked


def test_alpn_is_chosen_per_connection(pair, pool):
    """What is set on the context counts for the next connection, without touching older ones."""
    server = mesh("peer", server_side=True, alpn=("h2", "http/1.1"))
    client = mesh("me", server_side=False, alpn=["h2"])
    before = client._inner()
    client.set_alpn_protocols(["http/1.1"])
    served = pool.submit(greet, server, pair[0])
    with client.wrap_socket(pair[1]) as tls:
        tls.recv(10)
        assert "http/1.1" == tls.selected_alpn_protocol()
        tls.sendall(b"bye")
        served.result()
    client.set_alpn_protocols(["h2"])
    assert before is client._inner()


def test_nobody_is_no_peer():
    """Things that are no verified connection have no peer."""
    assert peer_of(None) is None
    assert peer_of(socket) is None
