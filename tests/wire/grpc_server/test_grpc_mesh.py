"""`mesh.grpc_server` and `mesh.grpc_aio_server`, in processes of their own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

import meshlib
from meshlib import Mesh
from meshlib.control.registry import Document
from meshlib.model import Snapshot
from meshlib.testing.grpc_call import HandMade
from meshlib.trust.tls import MeshContext
from meshlib.trust.verify import fellows_of

PATIENCE = 20.0
PROGRAM = Path(__file__).with_name("greeter.py")
NOTHING = Snapshot("greeter", ())


@contextmanager
def running(kind):
    environ = {**os.environ, "PYTHONPATH": str(Path(meshlib.__file__).parents[1])}
    command = [sys.executable, str(PROGRAM), kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as child:
        try:
            _, port = child.stdout.readline().split()
            yield child, int(port)
        finally:
            child.kill()


@contextmanager
def connected(mesh, port):
    context = MeshContext(
        mesh.credentials,
        server_side=False,
        authorize=fellows_of(mesh.credentials),
        clock=time.time,
        alpn=("h2",),
    )
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
        with context.wrap_socket(sock) as tls:
            yield HandMade(tls)


def call(connection):
    answer = connection.call("/t.Greeter/Hello")
    return answer.status, answer.message


def endpoints(mesh):
    return getattr(mesh.control.endpoints("greeter").value, "snapshot", NOTHING).endpoints


@pytest.mark.parametrize("kind", ["threads", "built", "loop"])
def test_service(home, kind):
    """It is found, serves peers by what documents allow at the time, and drains on SIGTERM."""
    with running(kind) as (child, port), Mesh("frontend") as mesh:
        (found,) = endpoints(mesh)
        assert (port, "grpc") == (found.port, found.meta["protocol"])
        with connected(mesh, port) as connection:
            assert ("0", b"hello frontend") == call(connection)
            nobody = {"Sources": [{"Name": "*", "Action": "deny"}]}
            mesh.control.put(Document("service-intentions", "greeter", nobody))
            end = time.monotonic() + PATIENCE
            while ("0", b"hello frontend") == (said := call(connection)):
                assert time.monotonic() < end
            assert ("7", b"") == said
        child.send_signal(signal.SIGTERM)
        assert "DONE" == child.stdout.readline().strip()
        assert 0 == child.wait(PATIENCE)
        gone = mesh.control.endpoints("greeter")
        assert () == getattr(gone.value, "snapshot", NOTHING).endpoints
