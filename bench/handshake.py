"""What the SPIFFE check adds: mutual TLS with a MeshContext, and with Python's own context."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from statistics import median

from _common import Result, at_most, interleaved, name_of, ratio, run, spread

from meshlib.testing.ca import ThrowawayCA
from meshlib.trust.bundle import Credentials
from meshlib.trust.pemfile import secret_path
from meshlib.trust.tls import AEAD, MeshContext, allow_ids, member_of
from meshlib.trust.verify import verify_peer
from meshlib.watch import Watch

HANDSHAKES, CHECKS = 50, 500
ROUNDS = 15
CA = ThrowawayCA(now=time.time())


def bare(credentials: Credentials, *, server_side: bool) -> ssl.SSLContext:
    """Mutual TLS 1.3 as the standard library has it, with the same suites and certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_ciphers(AEAD)
    if server_side:
        context.num_tickets = 0  # as ours; two tickets would be work of theirs only
    for root in CA.bundle.roots:
        context.load_verify_locations(cadata=root)
    with secret_path(credentials.leaf.key_pem + credentials.leaf.chain_pem) as path:
        context.load_cert_chain(path)
    return context


def mesh(credentials: Credentials, *, server_side: bool) -> ssl.SSLContext:
    """The same with ours."""
    authorize = member_of("example.org") if server_side else allow_ids(CA.id_of("server"))
    watch = Watch(credentials, ready=True)
    return MeshContext(watch, server_side=server_side, authorize=authorize, clock=time.time)


def shake(client: ssl.SSLContext, server: ssl.SSLContext) -> ssl.SSLObject:
    """One full handshake in memory, and a byte each way; the client's end."""
    back, forth = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(back, forth)
    far = server.wrap_bio(forth, back, server_side=True)
    for _ in range(2):
        for end in near, far:
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
    near.write(b"?")
    far.write(far.read(1))
    near.read(1)
    return near


def shaking(make: Callable[..., ssl.SSLContext]) -> Callable[[], float]:
    """CPU seconds of a handshake, both ends together."""
    client = make(CA.credentials("client"), server_side=False)
    server = make(CA.credentials("server"), server_side=True)

    def shakes() -> float:
        started = time.process_time()
        for _ in range(HANDSHAKES):
            shake(client, server)
        return (time.process_time() - started) / HANDSHAKES

    return shakes


def checking() -> Callable[[], float]:
    """CPU seconds of the check of one peer, as the handshake makes it."""
    credentials = CA.credentials("server")
    near = shake(
        mesh(CA.credentials("client"), server_side=False), mesh(credentials, server_side=True)
    )
    der = near.getpeercert(binary_form=True)
    chain = [der or b"", next(iter(CA.bundle.roots))]
    authorize, now = allow_ids(CA.id_of("server")), time.time()

    def check() -> float:
        started = time.process_time()
        for _ in range(CHECKS):
            verify_peer(der, chain, credentials, authorize, now)
        return (time.process_time() - started) / CHECKS

    return check


def measure() -> Iterator[Result]:
    """See the module."""
    name = name_of(__file__)
    costs = interleaved({"mesh": shaking(mesh), "bare": shaking(bare)}, rounds=ROUNDS)
    ours, theirs = costs["mesh"], costs["bare"]
    detail = f"{median(ours) * 1e3:.2f} ms to {median(theirs) * 1e3:.2f} ms, {spread(ours, theirs)}"
    yield at_most(name, "a full handshake, to bare ssl's", ratio(ours, theirs), 1.3, "x", detail)
    checks = interleaved({"check": checking()}, rounds=ROUNDS)["check"]
    yield at_most(name, "the check of a SPIFFE id", median(checks) * 1e3, 0.15, "ms")


if __name__ == "__main__":
    run(measure)
