"""
The SPIFFE check inside the TLS handshake, where nobody can forget it.

`MeshContext` is an `ssl.SSLContext`, so asyncio, uvloop, sockets, urllib3, aiohttp, uvicorn and
gunicorn take it as one.  It never shakes hands itself: every connection gets an *inner* context,
immutable once built, one a (generation of the credentials, ALPN list).  A rotation is therefore a
new value in the `Watch`: the next handshake uses it, live connections go on with the old one, and
no context that a handshake is using is ever changed (changing one crashes CPython, cpython#134698).

What is left open: whoever calls the private `_sslobj`, and C extensions that take no Python
context (grpcio).
"""

from __future__ import annotations

import _ssl
import ssl
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Self

from meshlib.errors import IdentityUnavailable
from meshlib.runtime import Clock
from meshlib.trust.bundle import Credentials
from meshlib.trust.pemfile import secret_path
from meshlib.trust.sessions import Sessions
from meshlib.trust.verify import Authorizer, Peer, Untrusted, allow_ids, member_of, verify_peer
from meshlib.watch import Watch

__all__ = ["MeshContext", "PeerRejected", "allow_ids", "member_of", "peer_of"]

AEAD = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""What is left of TLS 1.2 without CBC and static RSA; TLS 1.3 has nothing else."""

_STRICT = ssl.VerifyFlags.VERIFY_X509_STRICT | ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST


class PeerRejected(ssl.SSLCertVerificationError):
    """The handshake succeeded and the peer is still not who it should be.

    It is an `ssl.SSLError` because asyncio ends a handshake properly only on those.
    """


class OwnLeafNotValid(ssl.SSLError):
    """This side has no certificate that a server would take at this time; nothing was sent."""

    hint = ""
    """What to do about it."""


def peer_of(connection: object) -> Peer | None:
    """The verified peer of an ssl object or socket; None before the handshake, or without TLS."""
    peer = getattr(connection, "mesh_peer", None)
    return peer if isinstance(peer, Peer) else None


@dataclass(frozen=True, slots=True)
class _Terms:
    """What a peer must satisfy, fixed for the life of one inner context."""

    credentials: Credentials
    authorize: Authorizer
    clock: Clock


class _InnerContext(ssl.SSLContext):
    """One generation; built once, then only read."""

    terms: _Terms
    sessions: Sessions
    outer: MeshContext


if TYPE_CHECKING:
    _Connection = ssl.SSLObject
else:
    _Connection = object


class _Verified(_Connection):
    """A connection that passes no byte before its peer is verified."""

    mesh_peer: Peer | None = None

    def do_handshake(self, *args: Any) -> None:
        """Shake hands and verify; raises PeerRejected, OwnLeafNotValid."""
        if self.mesh_peer is None:
            _check_own(self)
        super().do_handshake(*args)
        if self.mesh_peer is None:
            self.mesh_peer = _verify(self)

    def read(self, *args: Any) -> Any:
        self._settle()
        return super().read(*args)

    def write(self, *args: Any) -> int:
        self._settle()
        return super().write(*args)

    def _settle(self) -> None:
        # OpenSSL shakes hands by itself at the first read or write: that must not skip the check
        if self.mesh_peer is None:
            self.do_handshake()


class _VerifiedObject(_Verified, ssl.SSLObject):
    """What `wrap_bio` makes."""


class _VerifiedSocket(_Verified, ssl.SSLSocket):  # type: ignore[misc,override]
    """What `wrap_socket` makes."""

    def send(self, *args: Any) -> int:
        """Verify first: `SSLSocket.send` does not go through `write`."""
        self._settle()
        return super().send(*args)

    def shutdown(self, how: int) -> None:
        """Close a half and go on in TLS: an SSLSocket would go on in plaintext."""
        self._checkClosed()  # type: ignore[attr-defined]
        super(ssl.SSLSocket, self).shutdown(how)

    def accept(self) -> tuple[Any, Any]:
        """Accept with the credentials of this moment, not of that in which it began to listen."""
        accepted, address = super(ssl.SSLSocket, self).accept()
        own: Any = self
        return own.context.outer.wrap_socket(
            accepted,
            server_side=True,
            do_handshake_on_connect=own.do_handshake_on_connect,
            suppress_ragged_eofs=own.suppress_ragged_eofs,
        ), address

    def connect(self, addr: Any) -> None:
        """Close when it fails: an SSLSocket would speak plaintext from then on."""
        with self._closed_on_failure():
            super().connect(addr)

    def connect_ex(self, addr: Any) -> int:
        """Like `connect`."""
        with self._closed_on_failure():
            return super().connect_ex(addr)

    @contextmanager
    def _closed_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise


_InnerContext.sslobject_class = _VerifiedObject
_InnerContext.sslsocket_class = _VerifiedSocket


class MeshContext(ssl.SSLContext):
    """An SSL context that knows who it talks to, and rotates.

    `authorize` is required: there is no "any certificate will do".  On a server it should admit
    every id of the trusted domains and leave the finer decision to the request: a client of TLS 1.3
    learns of a refusal in the handshake only after it has written its request.  `clock` gives Unix
    time.  A client asks for `server_name` (SNI), or for what its library says if that is empty;
    it is no part of the check.  Raises IdentityUnavailable when the credentials cannot be used.
    """

    def __new__(cls, *_: Any, server_side: bool, **__: Any) -> Self:
        """Make the C context, which is never used and would refuse everybody."""
        return super().__new__(cls, _protocol(server_side=server_side))

    def __init__(
        self,
        credentials: Watch[Credentials],
        *,
        server_side: bool,
        authorize: Authorizer,
        clock: Clock,
        alpn: Iterable[str] = (),
        min_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        server_name: str = "",
    ) -> None:
        # no roots and no certificate behind it: code that gets around the overrides fails closed
        ssl.SSLContext.verify_mode.__set__(self, ssl.CERT_REQUIRED)  # type: ignore[attr-defined]
        self._credentials = credentials
        self._server_side = server_side
        self._authorize = authorize
        self._clock = clock
        self._alpn = tuple(alpn)
        self._min_version = min_version
        self._server_name = server_name
        self._lock = threading.Lock()
        self._built: tuple[int, dict[tuple[str, ...], _InnerContext]] = (-1, {})
        self._inner()

    def wrap_socket(
        self,
        sock: Any,
        server_side: bool = False,  # noqa: FBT001, FBT002 - the signature is ssl's
        do_handshake_on_connect: bool = True,  # noqa: FBT001, FBT002
        suppress_ragged_eofs: bool = True,  # noqa: FBT001, FBT002
        server_hostname: Any = None,
        session: Any = None,
    ) -> Any:
        """Like `ssl.SSLContext.wrap_socket`, with the credentials of this moment."""
        return self._for(server_side).wrap_socket(
            sock,
            server_side,
            do_handshake_on_connect,
            suppress_ragged_eofs,
            self._server_name or server_hostname,
            session,
        )

    def wrap_bio(
        self,
        incoming: Any,
        outgoing: Any,
        server_side: bool = False,  # noqa: FBT001, FBT002 - the signature is ssl's
        server_hostname: Any = None,
        session: Any = None,
    ) -> Any:
        """Like `ssl.SSLContext.wrap_bio`, with the credentials of this moment."""
        name = self._server_name or server_hostname
        return self._for(server_side).wrap_bio(incoming, outgoing, server_side, name, session)

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        """Choose what later connections offer."""
        self._alpn = tuple(alpn_protocols)

    @property
    def verify_mode(self) -> ssl.VerifyMode:
        """Always CERT_REQUIRED; urllib3 assigns back what it reads here."""
        return ssl.CERT_REQUIRED

    @verify_mode.setter
    def verify_mode(self, value: int) -> None:
        if value != ssl.CERT_REQUIRED:
            raise ValueError(f"verify_mode of a MeshContext is CERT_REQUIRED, not {value!r}")

    @property
    def check_hostname(self) -> bool:
        """True on clients: the name was checked in the handshake, and no other check is due.

        Assigning changes nothing, because the SPIFFE check does not depend on it; urllib3 assigns
        False when told not to look at host names.
        """
        return not self._server_side

    @check_hostname.setter
    def check_hostname(self, value: bool) -> None: ...

    def _fixed(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: what is shown and trusted is in the credentials, the suites follow from TLS."""
        raise TypeError(
            "a MeshContext cannot be changed: what it shows and trusts is in its credentials"
        )

    load_cert_chain = load_verify_locations = load_default_certs = _fixed
    set_default_verify_paths = set_ciphers = _fixed

    def _for(self, server_side: object) -> _InnerContext:
        if bool(server_side) is not self._server_side:
            side = "server" if self._server_side else "client"
            raise ValueError(f"this MeshContext is for the {side} side")
        return self._inner()

    def _inner(self) -> _InnerContext:
        generation, contexts = self._built
        alpn = self._alpn
        if generation == self._credentials.value.generation and alpn in contexts:
            return contexts[alpn]
        with self._lock:
            return self._build(self._credentials.value, alpn)

    def _build(self, credentials: Credentials, alpn: tuple[str, ...]) -> _InnerContext:
        generation, contexts = self._built
        if generation != credentials.generation:
            contexts = {}
        if alpn not in contexts:
            terms = _Terms(credentials, self._authorize, self._clock)
            context = _new_inner(terms, alpn, self._min_version, server_side=self._server_side)
            context.outer = self
            contexts = {**contexts, alpn: context}
        self._built = credentials.generation, contexts
        return contexts[alpn]


def _protocol(*, server_side: bool) -> ssl._SSLMethod:
    return ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT


def _new_inner(
    terms: _Terms, alpn: tuple[str, ...], min_version: ssl.TLSVersion, *, server_side: bool
) -> _InnerContext:
    context = _InnerContext(_protocol(server_side=server_side))
    context.terms, context.sessions = terms, Sessions()
    context.check_hostname = False  # names are SPIFFE ids here
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= _STRICT
    context.minimum_version = min_version
    context.set_ciphers(AEAD)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET
    if server_side:
        context.num_tickets = 0  # a ticket would outlast the trust it was given in
    if alpn:
        context.set_alpn_protocols(alpn)
    try:
        _load(context, terms.credentials)
    except ssl.SSLError as exc:
        what = f"the credentials of {terms.credentials.leaf.spiffe_id} cannot be used"
        raise IdentityUnavailable(what, why=str(exc)) from exc
    return context


def _load(context: ssl.SSLContext, credentials: Credentials) -> None:
    for bundle in credentials.bundles.values():
        for root in bundle.roots:
            context.load_verify_locations(cadata=root)
    with secret_path(credentials.leaf.key_pem + credentials.leaf.chain_pem) as path:
        context.load_cert_chain(path)


def _verify(connection: ssl.SSLObject) -> Peer:
    context = connection.context
    if not isinstance(context, _InnerContext):
        raise PeerRejected("the context of this connection was replaced")
    terms, der = context.terms, connection.getpeercert(binary_form=True)
    chain = _chain(connection, context)
    try:
        peer = verify_peer(der, chain, terms.credentials, terms.authorize, terms.clock())
    except Untrusted as exc:
        raise PeerRejected(str(exc)) from exc
    if connection.server_side and connection.version() == "TLSv1.2" and connection.session:
        context.sessions.remember(connection.session.id, peer.anchor)
    return peer


def _check_own(connection: ssl.SSLObject) -> None:
    """A client of TLS 1.3 would hear only after its request that its certificate was refused."""
    context = connection.context
    if connection.server_side or not isinstance(context, _InnerContext):
        return
    credentials, now = context.terms.credentials, context.terms.clock()
    leaf = credentials.leaf
    if now > leaf.not_after:
        why = f": {credentials.trouble}" if credentials.trouble else ""
        refusal = OwnLeafNotValid(
            f"the certificate of this process, {leaf.spiffe_id}, expired {now - leaf.not_after:.0f}"
            f" s ago and was not renewed{why}"
        )
        refusal.hint = credentials.remedy
        raise refusal


def _chain(connection: ssl.SSLObject, context: _InnerContext) -> list[bytes]:
    """DER, leaf first; of a resumed session the anchor is all that is left."""
    if not connection.session_reused:
        return _verified_chain(connection)
    session = connection.session if connection.server_side else None
    anchor = context.sessions.anchor(session.id) if session else None
    return [anchor] if anchor else []


def _verified_chain(connection: Any) -> list[bytes]:
    """DER, leaf first."""
    if hasattr(connection, "get_verified_chain"):
        chain: list[bytes] = connection.get_verified_chain()
        return chain
    # Python 3.11 and 3.12 have it in C only
    chain_in_c = connection._sslobj.get_verified_chain()  # noqa: SLF001
    return [each.public_bytes(_ssl.ENCODING_DER) for each in chain_in_c or ()]
