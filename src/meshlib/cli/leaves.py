"""What certificates the instances of a mesh show, looked at from outside."""

from __future__ import annotations

import _ssl
import socket
import ssl
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from meshlib.control.local.alarm import WORRY_AT
from meshlib.control.local.survey import signer_of

if TYPE_CHECKING:
    from cryptography import x509

    from meshlib.control.local.vault import Loaded
    from meshlib.model import Endpoint

PATIENCE = 2.0
"""Seconds for one instance, on this machine."""
AT_ONCE = 16
FOLLOWED = 90.0
"""Seconds within which a process has followed a rotation; it looks once a second, and once a minute
while renewing fails."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """What one instance shows."""

    service: str
    instance: str
    address: str
    signed_by: int | None = None
    """The generation of the root; None: another CA's, or it could not be asked."""
    not_after: float | None = None
    """Unix time."""
    warning: str = ""


def leaves(instances: Iterable[tuple[str, Endpoint]], loaded: Loaded, now: float) -> list[Leaf]:
    """Ask all instances, each known by its service, at the same time."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(partial(_look, loaded, now), instances))


def _look(loaded: Loaded, now: float, instance: tuple[str, Endpoint]) -> Leaf:
    service, endpoint = instance
    where = service, endpoint.id, endpoint.authority
    try:
        chain = shown(endpoint.host, endpoint.port)
    except (OSError, ValueError) as exc:
        return Leaf(*where, warning=f"{endpoint.id} shows no certificate: {exc}")
    generation = signer_of(chain, loaded)
    warning = next(_warnings(endpoint.id, chain[0], generation, loaded, now), "")
    return Leaf(*where, generation, chain[0].not_valid_after_utc.timestamp(), warning)


def shown(host: str, port: int) -> list[x509.Certificate]:
    """The chain a server sends, leaf first.  Nothing is verified: it is only looked at.

    Raises OSError, ValueError.
    """
    from cryptography import x509

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((host, port), timeout=PATIENCE) as sock,
        context.wrap_socket(sock) as tls,
    ):
        return [x509.load_der_x509_certificate(each) for each in _chain(tls)]


def _chain(tls: Any) -> list[bytes]:
    """DER, leaf first."""
    if hasattr(tls, "get_unverified_chain"):
        chain: list[bytes] = tls.get_unverified_chain()
        return chain
    # Python 3.11 and 3.12 have it in C only
    chain_in_c = tls._sslobj.get_unverified_chain()  # noqa: SLF001
    return [each.public_bytes(_ssl.ENCODING_DER) for each in chain_in_c or ()]


def _warnings(
    name: str, leaf: x509.Certificate, generation: int | None, loaded: Loaded, now: float
) -> Iterator[str]:
    since, until = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    if generation is None:
        yield f"{name} shows a certificate of another CA: restore the folder, or restart {name}"
    if now > until:
        yield f"the certificate of {name} has expired; its log says why it is not renewed"
    if now > since + WORRY_AT * (until - since):
        yield f"{name} should have renewed its certificate; its log says why it has not"
    retiring = loaded.state.retiring
    if retiring and generation == retiring.generation and now > retiring.retired + FOLLOWED:
        yield f"{name} has not followed the rotation; its log says why"
