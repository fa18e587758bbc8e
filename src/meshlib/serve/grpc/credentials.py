"""The mesh's certificate and roots as grpcio takes them, renewed before every handshake."""

from __future__ import annotations

import ssl

import grpc

from meshlib.trust.bundle import Credentials
from meshlib.watch import Watch


class Rotating:
    """Tells grpcio of new credentials; it asks before each handshake, from threads of its own."""

    __slots__ = ("_credentials", "_told")

    def __init__(self, credentials: Watch[Credentials]) -> None:
        self._credentials = credentials
        self._told = credentials.value

    def server_credentials(self) -> grpc.ServerCredentials:
        """For one port: a certificate of every client is asked for, by all roots there are."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._told),
            self._changed,  # type: ignore[arg-type] # None means no change, the stubs forgot it
            require_client_authentication=True,
        )

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        # two handshakes at once may both tell grpcio the same, which does no harm
        credentials = self._credentials.value
        if credentials is self._told:
            return None
        self._told = credentials
        return _configuration(credentials)


def _configuration(credentials: Credentials) -> grpc.ServerCertificateConfiguration:
    leaf = credentials.leaf
    roots = {root for bundle in credentials.bundles.values() for root in bundle.roots}
    pem = "".join(ssl.DER_cert_to_PEM_cert(root) for root in sorted(roots))
    pairs = [(leaf.key_pem, leaf.chain_pem)]
    return grpc.ssl_server_certificate_configuration(pairs, root_certificates=pem.encode())
