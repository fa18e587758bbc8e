"""The contexts that client connections are made with: one a service, accepting that one only."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable

from meshlib.trust.bundle import Credentials
from meshlib.trust.spiffe import parse
from meshlib.trust.tls import MeshContext, allow_ids
from meshlib.watch import Watch


class ClientTrust:
    """Of a service: its context, and the generation of what that context trusts now."""

    def __init__(self, credentials: Watch[Credentials], spiffe_id: Callable[[str], str]) -> None:
        self._credentials, self._spiffe_id = credentials, spiffe_id
        self._contexts: dict[str, MeshContext] = {}

    def __call__(self, service: str) -> tuple[ssl.SSLContext, int]:
        """See the class."""
        context = self._contexts.get(service)
        if context is None:
            context = self._contexts.setdefault(service, self._context(service))
        return context, self._credentials.value.generation

    def _context(self, service: str) -> MeshContext:
        return MeshContext(
            self._credentials,
            server_side=False,
            authorize=allow_ids(parse(self._spiffe_id(service))),
            clock=time.time,
        )
