"""Plaintext on the mesh's own port: refused, accepted while a document says so, refused."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from meshlib import Mesh
from meshlib.control.registry import Document

HERE = Path(__file__).parent
PATIENCE = 20.0
KINDS = [
    ("asgi", "h11", "asyncio"),
    ("asgi", "h11", "uvloop"),
    ("asgi", "httptools", "asyncio"),
    ("asgi", "httptools", "uvloop"),
    ("hypercorn",),
    ("wsgi",),
]
CLAIMS = {"x-mesh-peer": "admin", "x-mesh-priority": "7", "x-forwarded-client-cert": "URI=x"}


@pytest.fixture(params=KINDS, ids="-".join)
def port(home, request):
    """Where the service is that runs in a process of its own."""
    command = [sys.executable, HERE / "lenient.py", *request.param]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield int(process.stdout.readline())
        process.terminate()


@pytest.fixture
def operator(home):
    """Somebody of the mesh who writes documents."""
    with Mesh("frontend") as mesh:
        yield mesh


def switch(operator, mode):
    operator.control.put(Document("traffic-policy", "backend", {"Serving": {"Mtls": mode}}))


@contextmanager
def plain(port):
    """A connection without TLS."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.connect()
    connection.auto_open = 0
    try:
        yield connection
    finally:
        connection.close()


def ask(connection, path="/"):
    connection.request("GET", path, headers=CLAIMS)
    answer = connection.getresponse()
    return answer.status, answer.read()


def outcome(port, path="/"):
    """The status of one plaintext request, or 0 where it is not HTTP that answers."""
    with plain(port) as connection:
        try:
            return ask(connection, path)[0]
        except (OSError, http.client.HTTPException):
            return 0


def until(wanted, port):
    end = time.monotonic() + PATIENCE
    while (seen := outcome(port)) != wanted and time.monotonic() < end:
        pass
    assert wanted == seen


def test_it_is_switched_while_the_service_runs(port, operator):
    """Off, on and off; TLS goes on all the time, and nobody without it is anybody."""
    with operator.client() as peer:
        assert 0 == outcome(port)
        switch(operator, "permissive")
        until(200, port)
        with plain(port) as standing:
            service, edge, priority, names = json.loads(ask(standing)[1])
            assert (None, False) == (service, edge)
            assert 7 != priority
            assert not set(CLAIMS) & set(names)
            assert "frontend" == peer.get("http://backend/").json()[0]
            page = peer.get("http://backend/metrics").text
            assert 'caller="(plaintext)"' in page
            assert 'meshlib_control_events_total{kind="mtls-permissive"} 1' in page
            deny = {"Sources": [{"Name": "*", "Action": "deny"}]}
            operator.control.put(Document("service-intentions", "backend", deny))
            until(403, port)
            operator.control.delete("service-intentions", "backend")
            until(200, port)
            switch(operator, "strict")
            until(0, port)
            assert 421 == ask(standing)[0]
            with pytest.raises((OSError, http.client.HTTPException)):
                ask(standing)
        assert "frontend" == peer.get("http://backend/").json()[0]


def test_what_is_not_served(port, operator):
    """Permissive is not lax: not TLS without a certificate, not silence, not broken requests."""
    switch(operator, "permissive")
    until(200, port)
    assert b"" == without_certificate(port)
    for said in (
        b"",
        b"G",
        b"GET / HTTP/1.1\r\nhost: b",
        b"\x16",
        b"\x16\x03\x01GET / HTTP/1.1\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
            sock.sendall(said)
            assert b" 200 " not in everything(sock)
    bad = b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
        sock.sendall(bad)
        assert b" 400 " in everything(sock)


def without_certificate(port):
    """What TLS that shows no certificate is answered."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
        try:
            with context.wrap_socket(sock) as tls:
                tls.sendall(b"GET / HTTP/1.1\r\nhost: backend\r\n\r\n")
                return everything(tls)
        except OSError:
            return b""


def everything(sock):
    """All that is said until the server closes."""
    said = bytearray()
    try:
        while chunk := sock.recv(65536):
            said += chunk
    except OSError:
        pass
    return bytes(said)
