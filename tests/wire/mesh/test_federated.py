"""Calls to a service of another trust domain, whose id a document says."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import grpc
import httpx
import pytest
import requests
from cryptography.hazmat.primitives.serialization import Encoding

from meshlib import Mesh
from meshlib.control.registry import Document
from meshlib.errors import ConfigError
from meshlib.testing.ca import ThrowawayCA

HERE = Path(__file__).parent
PATIENCE = 20.0
OURS = ThrowawayCA(now=time.time())
PARTNER = ThrowawayCA("partner.org", now=time.time())
PROGRAMS = {
    "backend": (HERE / "lenient.py", "asgi", "h11", "asyncio"),
    "greeter": (HERE.parent / "grpc_server" / "greeter.py", "threads"),
}


def pem(ca):
    return ca.root.certificate.public_bytes(Encoding.PEM)


def identity(folder, ca, service, other):
    """A folder with a certificate of `ca`, which federates with `other`."""
    (folder / "bundles").mkdir(parents=True)
    leaf = ca.leaf(uris=(ca.id_of(service),))
    files = {"ca.crt": pem(ca), "tls.crt": leaf.chain_pem, "tls.key": leaf.key_pem}
    for name, data in {**files, f"bundles/{other.trust_domain}.pem": pem(other)}.items():
        (folder / name).write_bytes(data)
    return f"files:{folder}"


@contextmanager
def partners(service, folder):
    """The service of the other domain, in a process of its own."""
    environ = {**os.environ, "MESHLIB_IDENTITY": identity(folder, PARTNER, service, OURS)}
    command = [sys.executable, *map(str, PROGRAMS[service])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
        try:
            assert process.stdout.readline()
            yield
        finally:
            process.kill()


@pytest.fixture
def mesh(home, tmp_path):
    """A caller of our domain."""
    with Mesh("frontend", identity=identity(tmp_path / "mine", OURS, "frontend", PARTNER)) as mesh:
        yield mesh


def expect(mesh, service, spiffe_id):
    body = {"Connect": {"SpiffeId": spiffe_id}}
    mesh.control.put(Document("traffic-policy", service, body))


def by_httpx(mesh):
    with mesh.client() as http:
        yield lambda: http.get("http://backend/").status_code == httpx.codes.OK


def by_requests(mesh):
    with mesh.requests_session() as http:
        yield lambda: http.get("http://backend/").status_code == httpx.codes.OK


def by_grpc(mesh):
    with mesh.grpc_channel("greeter") as channel:
        hello = channel.unary_unary("/t.Greeter/Hello")
        yield lambda: bool(hello(b"", timeout=PATIENCE))


CLIENTS = {by_httpx: "backend", by_requests: "backend", by_grpc: "greeter"}


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__)
def test_a_document_says_who_is_expected(mesh, tmp_path, client):
    """Refused without it; answered with it; refused again, on standing connections too."""
    service = CLIENTS[client]

    def answered(call):
        try:
            return call()
        except (httpx.TransportError, requests.ConnectionError, grpc.RpcError):
            return False

    with partners(service, tmp_path / "theirs"), contextmanager(client)(mesh) as call:
        assert not answered(call)
        for wanted, spiffe_id in (
            (True, PARTNER.id_of(service)),
            (False, PARTNER.id_of("somebody")),
            (True, PARTNER.id_of(service)),
            (False, ""),
        ):
            expect(mesh, service, spiffe_id)
            end = time.monotonic() + PATIENCE
            while wanted != answered(call):
                assert time.monotonic() < end, spiffe_id


@pytest.mark.parametrize(
    "bad",
    ["partner.org", "spiffe://Partner.org/a", "spiffe://partner.org", "spiffe://partner.org//a"],
)
def test_what_is_no_id(mesh, bad):
    """The document is refused where it is written, by its path, with what would be right."""
    with pytest.raises(ConfigError, match=r"Connect\.SpiffeId") as refused:
        expect(mesh, "backend", bad)
    assert bad in str(refused.value)
