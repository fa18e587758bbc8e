"""
Who is at the other end of a gRPC connection, by the certificate alone.

grpcio's own word for it, `peer_spiffe_id`, is never read: it ends at the first NUL, it is there for
certificates with two ids or those of a CA, and any root may vouch for any trust domain.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping, Sequence

from meshlib.runtime import Clock
from meshlib.serve.admission import Connection
from meshlib.trust.bundle import Credentials
from meshlib.trust.chain import verify_shown
from meshlib.trust.verify import Authorizer, Untrusted
from meshlib.watch import Watch

log = logging.getLogger("meshlib.serve")

REMEMBERED = 1024
"""Certificates whose verdict is kept; a check takes half a millisecond."""

_SECURITY = "transport_security_type"
_LEAF, _CHAIN = "x509_pem_cert", "x509_pem_cert_chain"
_INSECURE = b"insecure"
_NONE = (b"",)
_END = b"-----END CERTIFICATE-----"
_EDGE = Connection(None, edge=True)
_NOBODY = Connection(None)


class Peers:
    """Checks certificates; those that were found good are remembered, for one generation."""

    __slots__ = ("_authorize", "_credentials", "_known", "_last", "_unix", "_without_tls")

    def __init__(
        self,
        credentials: Watch[Credentials],
        authorize: Authorizer,
        unix: Clock,
        *,
        edge: bool = False,
    ) -> None:
        self._credentials, self._authorize, self._unix = credentials, authorize, unix
        self._without_tls = _EDGE if edge else _NOBODY
        self._known: tuple[Credentials, dict[tuple[bytes, bytes], Connection]] | None = None
        self._last: tuple[Credentials, tuple[bytes, bytes], Connection] | None = None

    def connection(self, said: Mapping[str, Sequence[bytes]]) -> Connection:
        """What is known of a connection by its `auth_context`.

        Without a peer it is one that proved nothing, unless it came by the edge: if there is one,
        it is where grpcio listens without TLS.
        """
        shown = (said.get(_LEAF) or _NONE)[0], (said.get(_CHAIN) or _NONE)[0]
        credentials, last = self._credentials.value, self._last
        # who calls once calls again: to compare is cheaper than to hash two kilobytes
        if last is not None and last[0] is credentials and last[1] == shown:
            return last[2]
        if not shown[0] and (said.get(_SECURITY) or _NONE)[0] == _INSECURE:
            return self._without_tls
        found = self._remembered(credentials).get(shown) or self._newly(shown, credentials)
        if found.peer is not None:
            self._last = credentials, shown, found
        return found

    def _newly(self, shown: tuple[bytes, bytes], credentials: Credentials) -> Connection:
        found = self._checked(shown, credentials)
        if found.peer is not None:
            self._remembered(credentials)[shown] = found
        return found

    def _remembered(self, credentials: Credentials) -> dict[tuple[bytes, bytes], Connection]:
        known = self._known
        if known is None or known[0] is not credentials or len(known[1]) >= REMEMBERED:
            self._known = known = credentials, {}
        return known[1]

    def _checked(self, shown: tuple[bytes, bytes], credentials: Credentials) -> Connection:
        try:
            ders = _ders(*shown)
            return Connection(verify_shown(ders, credentials, self._authorize, self._unix()))
        except Untrusted as exc:
            log.info("a gRPC peer is not let in: %s", exc)
            return _NOBODY


def _ders(leaf: bytes, chain: bytes) -> list[bytes]:
    """The leaf, and what was sent with it; grpcio tells of no chain where there was only a leaf."""
    first = _split(leaf)
    return [*first, *(each for each in _split(chain) if each not in first)] if first else []


def _split(pem: bytes) -> list[bytes]:
    parts = pem.split(_END)[:-1]
    return [ssl.PEM_cert_to_DER_cert((part + _END).decode().strip()) for part in parts]
