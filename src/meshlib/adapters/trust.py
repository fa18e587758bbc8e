"""
The contexts that client connections are made with: one an identity to expect, accepting that only.

The expected SPIFFE id is compared as a whole, as Envoy does: trust domain, datacentre and service.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from typing import Protocol

from meshlib.model import Target
from meshlib.runtime import Clock
from meshlib.trust.bundle import Credentials
from meshlib.trust.spiffe import SpiffeId, parse, server_name
from meshlib.trust.tls import MeshContext, peer_of
from meshlib.watch import Watch

_NOTHING = Watch("", ready=True)


class Peers(Protocol):
    """What a control plane knows about the services of its mesh."""

    @property
    def oldest_tls(self) -> ssl.TLSVersion:
        """The least that a peer may speak."""

    def spiffe_id(self, service: str, datacenter: str = "") -> str:
        """The SPIFFE id that instances of a service prove."""

    def server_name(self, service: str, subset: str = "", datacenter: str = "") -> str:
        """What a client asks a server for (SNI); empty: nothing."""


def nothing_said(service: str) -> Watch[str]:  # noqa: ARG001 - of no service
    """No setting says what a service proves; `Peers` does."""
    return _NOTHING


class ClientTrust:
    """Of a target: its context, and the generation of what that context trusts now.

    `alpn` is what connections offer to speak; empty: what the engine says.  `said` is the SPIFFE id
    that settings expect of a service, or empty.  When it changes, so does the context: connections
    to whom was expected before are not used again.
    """

    def __init__(
        self,
        credentials: Watch[Credentials],
        peers: Peers,
        alpn: tuple[str, ...] = (),
        said: Callable[[str], Watch[str]] = nothing_said,
    ) -> None:
        self._credentials, self._peers, self._alpn = credentials, peers, alpn
        self._said = said
        self._by_target: dict[Target, tuple[Watch[str], str, MeshContext]] = {}
        self._contexts: dict[tuple[str, str, str, str], MeshContext] = {}

    def __call__(self, target: Target) -> tuple[ssl.SSLContext, int]:
        """See the class.  Raises ConfigError for a name or an id that no service has."""
        known = self._by_target.get(target)
        if known is None:
            said = self._said(target.service)
            known = self._remember(target, said)
        elif known[0].value != known[1]:
            known = self._remember(target, known[0])
        return known[2], self._credentials.value.generation

    def _remember(self, target: Target, said: Watch[str]) -> tuple[Watch[str], str, MeshContext]:
        spiffe_id = said.value
        known = said, spiffe_id, self._for(target, spiffe_id)
        self._by_target[target] = known
        return known

    def _for(self, target: Target, said: str) -> MeshContext:
        """Subsets share a context, and so connections, unless they are asked for by name."""
        service, datacenter = target.service, target.datacenter
        if said:
            name = server_name(parse(said), target.subset)
        else:
            name = self._peers.server_name(service, target.subset, datacenter)
        key = service, datacenter, name, said
        context = self._contexts.get(key)
        if context is None:
            context = self._contexts.setdefault(key, self._context(*key))
        return context

    def _context(self, service: str, datacenter: str, name: str, said: str) -> MeshContext:
        spiffe_id = self._peers.spiffe_id
        parse(said or spiffe_id(service, datacenter))

        def expected(proven: SpiffeId) -> bool:
            # asked anew each time: a Consul that was rebuilt has another trust domain
            return str(proven) == (said or spiffe_id(service, datacenter))

        return MeshContext(
            self._credentials,
            server_side=False,
            authorize=expected,
            clock=time.time,
            alpn=self._alpn,
            min_version=self._peers.oldest_tls,
            server_name=name,
        )


def outlives_its_peer(connection: object, unix: Clock) -> bool:
    """Whether the certificate shown on a TLS connection has ended since; `unix` is Unix time."""
    peer = peer_of(connection)
    return peer is not None and unix() > peer.not_after
