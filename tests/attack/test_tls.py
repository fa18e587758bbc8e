"""What can be tried beneath HTTP: old versions, resumption, plaintext, and half of a handshake."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import replace

import pytest

from meshlib.testing.attacks import good
from meshlib.testing.evil import GET, PATIENCE, ask, careless, dial, everything, meet
from meshlib.testing.forge import HOUR
from meshlib.testing.http2 import Http2
from meshlib.trust.bundle import TrustBundle
from meshlib.trust.tls import MeshContext, PeerRejected, member_of, peer_of
from meshlib.watch import Watch

OLD = ssl.TLSVersion.TLSv1_2
VERSIONS = [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2]
CBC = "ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA384:ECDHE-ECDSA-AES256-SHA:@SECLEVEL=0"
STATIC = "AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-SHA:@SECLEVEL=0"
NO_KEY = "AECDH:ADH:eNULL:aNULL:@SECLEVEL=0"


@pytest.fixture(scope="session")
def leaf(arena):
    """A good one: what is wrong here is something else."""
    return next(good(arena)).leaf


def only(version, ciphers="ALL:@SECLEVEL=0"):
    """Change a context to speak one version of TLS."""

    def change(context):
        context.minimum_version = context.maximum_version = version
        context.set_ciphers(ciphers)

    return change


@pytest.fixture(params=[True, False], ids=["we serve", "we call"])
def serving(request):
    """On either side."""
    return request.param


# ---- versions and suites


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_old_version(arena, leaf, our_context, serving, version):
    """Who cannot do TLS 1.3 is told no byte, whoever it is."""
    theirs = careless(arena, leaf, server_side=not serving, change=only(version))
    error, heard = meet(our_context(server_side=serving), theirs, serving=serving)
    assert isinstance(error, ssl.SSLError)
    assert b"" == heard


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version", VERSIONS[:2], ids=str)
def test_old_version_where_1_2_is_allowed(arena, leaf, our_context, serving, version):
    """A floor of TLS 1.2, as in Consul's mesh, is a floor."""
    theirs = careless(arena, leaf, server_side=not serving, change=only(version))
    ours = our_context(server_side=serving, min_version=OLD)
    error, heard = meet(ours, theirs, serving=serving)
    assert isinstance(error, ssl.SSLError)
    assert b"" == heard


@pytest.mark.parametrize("ciphers", [CBC, STATIC, NO_KEY], ids=["CBC", "static RSA", "no key"])
def test_weak_suites_where_1_2_is_allowed(arena, leaf, our_context, serving, ciphers):
    """Of TLS 1.2 nothing is left but authenticated encryption with forward secrecy."""
    theirs = careless(arena, leaf, server_side=not serving, change=only(OLD, ciphers))
    ours = our_context(server_side=serving, min_version=OLD)
    error, heard = meet(ours, theirs, serving=serving)
    assert isinstance(error, ssl.SSLError)
    assert b"" == heard


def test_good_suites_where_1_2_is_allowed(arena, leaf, our_context, serving):
    """The control: TLS 1.2 itself is spoken there."""
    theirs = careless(arena, leaf, server_side=not serving, change=only(OLD))
    ours = our_context(server_side=serving, min_version=OLD)
    assert (None, b"for the peer only") == meet(ours, theirs, serving=serving)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_servers_refuse_old_versions(site, arena, leaf, version):
    """No server of ours answers a client of an old version, good certificate or not."""
    before = site.calls()
    context = careless(arena, leaf, server_side=False, change=only(version))
    assert b"" == ask(site.address, context, GET).data
    assert before == site.calls()


# ---- who shows nothing, and who speaks out of turn


def test_servers_refuse_a_client_without_a_certificate(site, arena):
    """Nothing shown is nobody proven."""
    before = site.calls()
    assert b"" == ask(site.address, careless(arena, None, server_side=False), GET).data
    assert before == site.calls()


@pytest.mark.parametrize("floor", [OLD, ssl.TLSVersion.TLSv1_3], ids=str)
def test_no_certificate_in_memory(arena, our_context, floor):
    """With either floor."""
    theirs = careless(arena, None, server_side=False, change=only(floor))
    ours = our_context(server_side=True, min_version=floor)
    error, heard = meet(ours, theirs, serving=True)
    assert isinstance(error, ssl.SSLError)
    assert b"" == heard


def greeting(context):
    """The first bytes a client sends."""
    outgoing = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="backend").do_handshake()
    return outgoing.read()


RECORD = b"\x17\x03\x03" + len(GET).to_bytes(2, "big") + GET
"""A record of application data that nobody has encrypted."""
WORDS = {
    "plaintext HTTP": lambda hello: GET,
    "half a handshake, then plaintext": lambda hello: hello + GET,
    "half a handshake, then a record": lambda hello: hello + RECORD,
    "a record only": lambda hello: RECORD,
    "a piece of a greeting, then plaintext": lambda hello: hello[:40] + GET,
    "a greeting twice": lambda hello: hello + hello,
    "HTTP/2 in clear": lambda hello: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an SSL 2 greeting": lambda hello: b"\x80\x2e\x01\x00\x02" + b"\0" * 43,
    "an alert": lambda hello: b"\x15\x03\x03\x00\x02\x02\x28",
    "a heartbeat": lambda hello: b"\x18\x03\x02\x00\x03\x01\x40\x00",
    "zeros": lambda hello: b"\0" * 512,
}


@pytest.mark.parametrize("words", WORDS)
def test_servers_answer_nothing_but_tls(site, arena, leaf, words):
    """Who does not finish a handshake hears records of TLS at most, and reaches no application."""
    before = site.calls()
    hello = greeting(careless(arena, leaf, server_side=False))
    with dial(site.address) as sock:
        with suppress(OSError):
            sock.sendall(WORDS[words](hello))
            sock.shutdown(socket.SHUT_WR)
        heard = everything(sock)
    assert b"HTTP/" not in heard
    assert heard[:1] in {b"", b"\x15", b"\x16"}
    assert before == site.calls()


@pytest.mark.parametrize("words", [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""])
def test_clients_hear_nothing_but_tls(call, words):
    """A server that answers in clear, or not at all, is an error in every way to call."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        heard = []

        def serve():
            accepted, _ = listener.accept()
            with accepted, suppress(OSError):  # it may have hung up already
                accepted.settimeout(PATIENCE)
                heard.append(accepted.recv(65536))
                accepted.sendall(words)
                accepted.shutdown(socket.SHUT_WR)
                heard.append(everything(accepted))

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(Exception, match=r"(?s).*"):
            call(listener.getsockname())
        thread.join()
    assert b"\x16" == heard[0][:1]
    assert b"only-for-peer" not in b"".join(heard)


# ---- names and protocols that are asked for


@pytest.mark.parametrize("name", ["other", "me.example.org", "x" * 63, "xn--bcher-kva"])
def test_the_name_asked_for_proves_nothing(site, arena, leaf, name):
    """Whatever server name a client asks for: a good one is served, and nobody else."""
    for shown, status in ((leaf, b"HTTP/1.1 200"), (None, b"")):
        context = careless(arena, shown, server_side=False)
        with dial(site.address) as sock:
            heard = b""
            with suppress(OSError), context.wrap_socket(sock, server_hostname=name) as tls:
                tls.sendall(GET)
                heard = everything(tls)
        assert status == heard[:12]


def spoken(address, context):
    """What the application answers who shakes hands so, in the protocol that was agreed on."""
    with dial(address) as sock:
        try:
            tls = context.wrap_socket(sock, server_hostname="me")
        except OSError:
            return b""
        with tls, suppress(OSError):
            if tls.selected_alpn_protocol() != "h2":
                tls.sendall(GET)
                return everything(tls).partition(b"\r\n\r\n")[2]
            http = Http2(tls)
            stream = http.get(b"/")
            http.over(stream)
            return bytes(http.body[stream])
    return b""


@pytest.mark.parametrize(
    "protocols",
    [["h2"], ["http/0.9"], ["x" * 255], ["h2", "http/1.1"], [f"p{n}" for n in range(99)]],
)
def test_protocols_asked_for_prove_nothing(site, arena, leaf, protocols):
    """Whatever protocols a client offers: a good one reaches the application, nobody else."""
    for shown, calls in (leaf, ["/"]), (None, []):

        def change(context):
            context.set_alpn_protocols(protocols)

        before = site.calls()
        context = careless(arena, shown, server_side=False, change=change)
        answer = spoken(site.address, context)
        assert bool(calls) == answer.startswith(b"["), answer
        assert before + calls == site.calls()


# ---- resumption


class Clock:
    """Unix time that a test sets."""

    def __init__(self):
        self.now = time.time()

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    """It begins now."""
    return Clock()


class Resumer:
    """A client of TLS 1.2 or 1.3 that comes back with its session, to our server in memory."""

    def __init__(self, context, watch, clock, floor):
        self.watch, self.theirs, self.session = watch, context, None
        self.resumes = floor == OLD
        self.connections = []  # OpenSSL forgets the session of one that ends without a goodbye
        self.ours = MeshContext(
            watch,
            server_side=True,
            authorize=member_of("example.org"),
            clock=clock,
            min_version=floor,
        )

    def meet(self):
        """Whether the client was let in, and whether by its session."""
        back, forth = ssl.MemoryBIO(), ssl.MemoryBIO()
        us = self.ours.wrap_bio(back, forth, server_side=True)
        them = self.theirs.wrap_bio(forth, back, server_hostname="me", session=self.session)
        self.connections += us, them
        let_in = False
        for _ in range(4):
            with suppress(ssl.SSLError):
                them.do_handshake()
            try:
                us.do_handshake()
                let_in = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                break
        with suppress(ssl.SSLError):
            us.write(b"x")
        with suppress(ssl.SSLError):
            them.read(1)
        reused, self.session = us.session_reused, them.session or self.session
        return let_in, reused


@pytest.fixture(params=[OLD, ssl.TLSVersion.TLSv1_3], ids=str)
def resumer(request, arena, leaf, clock):
    """One that has been let in once."""
    theirs = careless(arena, leaf, server_side=False, change=only(request.param))
    watch = Watch(arena.credentials(), ready=True)
    made = Resumer(theirs, watch, clock, request.param)
    assert (True, False) == made.meet()
    return made


def test_resumption_while_all_is_well(resumer):
    """The control: who comes back is let in; TLS 1.3 gives it no ticket, 1.2 knows its session."""
    assert (True, resumer.resumes) == resumer.meet()


def test_resumption_after_expiry(resumer, clock):
    """A certificate that has expired since does not come in by its session."""
    clock.now += 2 * 3600
    assert not resumer.meet()[0]


def test_resumption_after_its_root_went(resumer, arena):
    """Nor does one whose root was rotated out since."""
    credentials = resumer.watch.value
    retired = {"example.org": TrustBundle("example.org", arena.retired.bundle.roots)}
    resumer.watch.set(replace(credentials, bundles=retired, generation=2))
    assert not resumer.meet()[0]


def test_resumption_after_a_rotation(resumer):
    """A rotation that leaves the root in place lets it in, by a full handshake."""
    resumer.watch.set(replace(resumer.watch.value, generation=2))
    assert (True, False) == resumer.meet()


def test_resumption_after_its_intermediate_ended(arena, clock):
    """Nor does one whose intermediate has ended, which a resumed session does not show."""
    via = arena.forge.authority(arena.ours.root, until=HOUR / 2)
    leaf = arena.forge.shown(arena.issued(via), via)
    theirs = careless(arena, leaf, server_side=False, change=only(OLD))
    watch = Watch(arena.credentials(), ready=True)
    resumer = Resumer(theirs, watch, clock, OLD)
    assert (True, False) == resumer.meet()
    clock.now = arena.now + HOUR / 2 - 60
    assert (True, True) == resumer.meet()
    assert arena.now + HOUR / 2 >= peer_of(resumer.connections[-2]).not_after
    clock.now += 120
    assert not resumer.meet()[0]


def test_our_clients_resume_with_nobody(arena, leaf, our_context):
    """A session of an evil server's, handed to our client, is refused or not used."""
    theirs = careless(arena, leaf, server_side=True, change=only(OLD))
    ours = our_context(server_side=False, min_version=OLD)

    connections = []

    def talk(session):
        back, forth = ssl.MemoryBIO(), ssl.MemoryBIO()
        us = ours.wrap_bio(back, forth, server_hostname="peer", session=session)
        them = theirs.wrap_bio(forth, back, server_side=True)
        connections.append((us, them))
        for _ in range(4):
            for end in us, them:
                with suppress(ssl.SSLWantReadError):
                    end.do_handshake()
        return us

    first = talk(None)
    assert peer_of(first) is not None
    with pytest.raises(PeerRejected, match="resumed"):
        talk(first.session)
