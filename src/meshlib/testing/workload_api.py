"""
A SPIFFE Workload API for tests: grpcio's server on a socket, handing out what it is told.

That it is another implementation of gRPC than the client's is the point.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Self

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from meshlib.control.spiffe.messages import SvidMessage, SvidResponse, encode
from meshlib.testing.ca import ThrowawayCA
from meshlib.trust.bundle import LeafCert, TrustBundle


def svid(leaf: LeafCert, bundle: TrustBundle, *, hint: str = "") -> SvidMessage:
    """A leaf and the roots of its domain, as they are sent."""
    chain = x509.load_pem_x509_certificates(leaf.chain_pem)
    key = load_pem_private_key(leaf.key_pem, None)
    return SvidMessage(
        leaf.spiffe_id,
        b"".join(each.public_bytes(Encoding.DER) for each in chain),
        key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        b"".join(sorted(bundle.roots)),
        hint,
    )


def response(
    ca: ThrowawayCA, *services: str, trust: Sequence[ThrowawayCA] = (), **leaf: Any
) -> SvidResponse:
    """What a good agent says: fresh SVIDs of `ca` for services, and the domains it trusts."""
    svids = [svid(ca.credentials(each, **leaf).leaf, ca.bundle) for each in services]
    federated = {
        f"spiffe://{each.trust_domain}": b"".join(sorted(each.bundle.roots)) for each in trust
    }
    return SvidResponse(tuple(svids), federated)


class WorkloadApi:
    """Serves at `address` (`unix:/...`, or a host and a port) from `start` to `stop`."""

    def __init__(self, address: str) -> None:
        self.address, self.port = address, 0
        self.calls = 0
        """Streams that were opened."""
        self._said: bytes | grpc.StatusCode | None = None
        self._turn = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._server: grpc.Server | None = None

    def say(self, what: SvidResponse | bytes | grpc.StatusCode) -> None:
        """Send this to whoever is there or comes: a response, any bytes, or a refusal."""
        with self._changed:
            self._said = encode(what) if isinstance(what, SvidResponse) else what
            self._turn += 1
            self._changed.notify_all()

    def start(self) -> Self:
        """Listen."""
        self._stopping = False
        self._server = grpc.server(ThreadPoolExecutor(8))
        fetch: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_stream_rpc_method_handler(
            self._fetch
        )
        handlers = grpc.method_handlers_generic_handler(
            "SpiffeWorkloadAPI", {"FetchX509SVID": fetch}
        )
        self._server.add_generic_rpc_handlers((handlers,))
        self.port = self._server.add_insecure_port(self.address)
        self._server.start()
        return self

    def stop(self) -> None:
        """Break all streams off and listen no more."""
        self._stopping = True
        self._wake()
        if self._server is not None:
            self._server.stop(0).wait()

    def await_calls(self, count: int, seconds: float = 20.0) -> bool:
        """Wait until that many streams were opened."""
        with self._changed:
            return self._changed.wait_for(lambda: self.calls >= count, seconds)

    def _fetch(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        del request
        if ("workload.spiffe.io", "true") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing")
        context.add_callback(self._wake)
        self.calls += 1
        self._wake()
        turn = 0
        while context.is_active():
            with self._changed:
                self._changed.wait_for(partial(self._due, turn, context))
                said, turn = self._said, self._turn
            if self._stopping or said is None:
                return
            if isinstance(said, grpc.StatusCode):
                context.abort(said, "no identity issued")
            yield said

    def _due(self, turn: int, context: grpc.ServicerContext) -> bool:
        """Whether whoever has heard `turn` answers need wait no longer."""
        return self._stopping or self._turn > turn or not context.is_active()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
