"""
The connection that passes no byte before its peer is verified.

`ssl` makes it of the classes that a context names; what a peer must satisfy stands in the context
itself, which `trust.tls` builds.
"""

from __future__ import annotations

import _ssl
import math
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshlib.runtime import Clock
from meshlib.trust.bundle import Credentials
from meshlib.trust.sessions import Sessions, Vouched
from meshlib.trust.verify import Authorizer, Peer, Untrusted, verify_peer


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
class Terms:
    """What a peer must satisfy, fixed for the life of one inner context."""

    credentials: Credentials
    authorize: Authorizer
    clock: Clock


class InnerContext(ssl.SSLContext):
    """One generation; built once, then only read."""

    terms: Terms
    sessions: Sessions
    outer: ssl.SSLContext
    """The context that makes these: what a listening socket accepts gets a new one of it."""


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


InnerContext.sslobject_class = _VerifiedObject
InnerContext.sslsocket_class = _VerifiedSocket


def _verify(connection: ssl.SSLObject) -> Peer:
    context = connection.context
    if not isinstance(context, InnerContext):
        raise PeerRejected("the context of this connection was replaced")
    terms, der = context.terms, connection.getpeercert(binary_form=True)
    chain, until = _chain(connection, context)
    try:
        peer = verify_peer(der, chain, terms.credentials, terms.authorize, terms.clock(), until)
    except Untrusted as exc:
        raise PeerRejected(str(exc)) from exc
    if connection.server_side and connection.version() == "TLSv1.2" and connection.session:
        vouched = Vouched(peer.anchor, peer.not_after)
        context.sessions.remember(connection.session.id, vouched)
    return peer


def _check_own(connection: ssl.SSLObject) -> None:
    """A client of TLS 1.3 would hear only after its request that its certificate was refused."""
    context = connection.context
    if connection.server_side or not isinstance(context, InnerContext):
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


def _chain(connection: ssl.SSLObject, context: InnerContext) -> tuple[list[bytes], float]:
    """DER, leaf first, and its end; of a resumed session the anchor is all that is left."""
    if not connection.session_reused:
        return _verified_chain(connection), math.inf
    session = connection.session if connection.server_side else None
    vouched = context.sessions.find(session.id) if session else None
    return ([vouched.anchor], vouched.until) if vouched else ([], math.inf)


def _verified_chain(connection: Any) -> list[bytes]:
    """DER, leaf first."""
    if hasattr(connection, "get_verified_chain"):
        chain: list[bytes] = connection.get_verified_chain()
        return chain
    # Python 3.11 and 3.12 have it in C only
    chain_in_c = connection._sslobj.get_verified_chain()  # noqa: SLF001
    return [each.public_bytes(_ssl.ENCODING_DER) for each in chain_in_c or ()]
