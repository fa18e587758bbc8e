"""What is fetched from outside of the mesh comes from who it should, or not at all."""

from __future__ import annotations

import http.server
import ssl
import threading
import time

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from meshlib.adapters.published import Published
from meshlib.control.https import fetch_https
from meshlib.errors import RegistryUnavailable
from meshlib.testing.ca import ThrowawayCA
from meshlib.trust.pemfile import secret_path

ANSWERS = {
    "/keys": (200, b"keys"),
    "/long": (200, b"x" * 101),
    "/gone": (404, b"keys"),
    "/elsewhere": (302, b""),
}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status, body = ANSWERS[self.path]
        self.send_response(status)
        self.send_header("location", "/keys")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def site():
    """`https://localhost:PORT`, and a context that trusts it."""
    ca = ThrowawayCA(now=time.time())
    leaf = ca.leaf(dns=("localhost",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with secret_path(leaf.key_pem + leaf.chain_pem) as path:
        context.load_cert_chain(path)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    pem = ca.root.certificate.public_bytes(Encoding.PEM).decode()
    yield f"https://localhost:{server.server_port}", ssl.create_default_context(cadata=pem)
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_is_there(site):
    """All of it, as far as it may be long."""
    url, context = site
    assert b"keys" == fetch_https(f"{url}/keys", 10, most=100, context=context)


@pytest.mark.parametrize("path", ["/long", "/gone", "/elsewhere"])
def test_what_is_not_taken(site, path):
    """Too much, an error, and a redirect."""
    url, context = site
    with pytest.raises((OSError, ValueError), match=r"."):
        fetch_https(url + path, 10, most=100, context=context)


def test_who_is_not_believed(site):
    """A server whose certificate nobody here trusts, or that has another name."""
    url, context = site
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        fetch_https(f"{url}/keys", 10, most=100)
    other = url.replace("localhost", "127.0.0.1")
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        fetch_https(f"{other}/keys", 10, most=100, context=context)


@pytest.mark.parametrize("url", ["http://localhost/keys", "file:///etc/passwd", "ftp://x/"])
def test_only_https(url):
    """Anything else authenticates nobody."""
    with pytest.raises(ValueError, match="https"):
        fetch_https(url, 10, most=100)


def test_a_service_that_cannot_be_reached(home):
    """It is told as an error of ours, with the reason."""
    from meshlib import Mesh

    with Mesh("backend") as mesh, pytest.raises(RegistryUnavailable, match="publisher"):
        Published(mesh.client, lambda *_: b"")("http://publisher/keys", 5.0)
