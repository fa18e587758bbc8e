"""Ordinary TLS, for the edge listener."""

from __future__ import annotations

import ssl

from meshlib.errors import ConfigError
from meshlib.serve.options import Edge


def edge_context(edge: Edge, socket_class: type[ssl.SSLSocket]) -> ssl.SSLContext | None:
    """The context of the edge listener, or None for plaintext.  Raises ConfigError."""
    if not edge.certfile:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.sslsocket_class = socket_class
    try:
        context.load_cert_chain(edge.certfile, edge.keyfile)
    except OSError as exc:  # ssl.SSLError is one
        raise ConfigError(
            "edge.certfile", edge.certfile, f"a certificate with its key ({exc})"
        ) from exc
    return context
