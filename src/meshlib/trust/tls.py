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

import ssl
import threading
from collections.abc import Iterable
from typing import Any, NoReturn, Self

from meshlib.errors import IdentityUnavailable
from meshlib.runtime import Clock
from meshlib.trust.bundle import Credentials
from meshlib.trust.handshake import InnerContext, PeerRejected, Terms, peer_of
from meshlib.trust.pemfile import secret_path
from meshlib.trust.sessions import Sessions
from meshlib.trust.verify import Authorizer, allow_ids, member_of
from meshlib.watch import Watch

__all__ = ["MeshContext", "PeerRejected", "allow_ids", "member_of", "peer_of"]

AEAD = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""What is left of TLS 1.2 without CBC and static RSA; TLS 1.3 has nothing else."""

_STRICT = ssl.VerifyFlags.VERIFY_X509_STRICT | ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST


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
        self._built: tuple[int, dict[tuple[str, ...], InnerContext]] = (-1, {})
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

    def still_trusts(self, connection: object) -> bool:
        """Whether the peer of a live connection would pass the handshake of this moment too."""
        peer = peer_of(connection)
        return peer is not None and peer.still_trusted(self._credentials.value, self._clock())

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

    def _for(self, server_side: object) -> InnerContext:
        if bool(server_side) is not self._server_side:
            side = "server" if self._server_side else "client"
            raise ValueError(f"this MeshContext is for the {side} side")
        return self._inner()

    def _inner(self) -> InnerContext:
        generation, contexts = self._built
        alpn = self._alpn
        if generation == self._credentials.value.generation and alpn in contexts:
            return contexts[alpn]
        with self._lock:
            return self._build(self._credentials.value, alpn)

    def _build(self, credentials: Credentials, alpn: tuple[str, ...]) -> InnerContext:
        generation, contexts = self._built
        if generation != credentials.generation:
            contexts = {}
        if alpn not in contexts:
            terms = Terms(credentials, self._authorize, self._clock)
            context = _new_inner(terms, alpn, self._min_version, server_side=self._server_side)
            context.outer = self
            contexts = {**contexts, alpn: context}
        self._built = credentials.generation, contexts
        return contexts[alpn]


def _protocol(*, server_side: bool) -> ssl._SSLMethod:
    return ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT


def _new_inner(
    terms: Terms, alpn: tuple[str, ...], min_version: ssl.TLSVersion, *, server_side: bool
) -> InnerContext:
    context = InnerContext(_protocol(server_side=server_side))
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
