"""A program's own gRPC server, in the mesh without a word about it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest

import meshlib
from meshlib import Mesh
from meshlib.auto import process
from meshlib.auto.incoming import grpc as incoming
from meshlib.model import Snapshot
from meshlib.serve.grpc.adopted import AdoptedAioServer, AdoptedServer
from meshlib.serve.grpc.server import MeshGrpcServer
from meshlib.testing.grpc_call import HandMade
from meshlib.trust.tls import MeshContext
from meshlib.trust.verify import fellows_of

PATIENCE = 20.0
NOTHING = Snapshot("greeter", ())
PROGRAM = Path(__file__).with_name("grpc_program.py")
WRAPPED = """
import runpy, sys
from meshlib.auto.incoming import grpc
grpc.wrap()
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@contextmanager
def running(kind, *before, **env):
    """The program, and the port it says it listens on."""
    environ = {**os.environ, "PYTHONPATH": str(Path(meshlib.__file__).parents[1]), **env}
    command = [sys.executable, *before, str(PROGRAM), kind, "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as child:
        try:
            word, port = child.stdout.readline().split()
            assert "LISTENING" == word
            yield child, int(port)
        finally:
            child.kill()


def instances(mesh):
    """All that are registered as the greeter."""
    return getattr(mesh.control.endpoints("greeter").value, "snapshot", NOTHING).endpoints


def context_of(mesh):
    return MeshContext(
        mesh.credentials,
        server_side=False,
        authorize=fellows_of(mesh.credentials),
        clock=time.time,
        alpn=("h2",),
    )


def hello(mesh, port):
    """Call `Hello` over the mesh's TLS."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
        with context_of(mesh).wrap_socket(sock) as tls:
            return HandMade(tls).call("/t.Greeter/Hello", b"x")


@pytest.mark.parametrize("kind", ["threads", "loop"])
def test_the_program_alone(kind):
    """It is an ordinary gRPC server."""
    with running(kind) as (_, port), grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert b"hello x" == channel.unary_unary("/t.Greeter/Hello")(b"x", timeout=PATIENCE)


@pytest.mark.parametrize("kind", ["threads", "loop"])
def test_the_program_in_the_mesh(home, kind):
    """Its address is the mesh's, it can be found there, and it drains when it is told to end."""
    with running(kind, "-c", WRAPPED, MESHLIB_SERVICE="greeter") as (child, port):
        with Mesh("frontend") as mesh:
            (found,) = instances(mesh)
            assert ("127.0.0.1", port, "grpc") == (found.host, found.port, found.meta["protocol"])
            answer = hello(mesh, port)
            assert ("0", b"hello x") == (answer.status, answer.message)
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                with pytest.raises(grpc.RpcError):
                    channel.unary_unary("/t.Greeter/Hello")(b"x", timeout=PATIENCE)
            child.send_signal(signal.SIGTERM)
            assert "DONE" == child.stdout.readline().strip()
            assert 0 == child.wait(PATIENCE)


@pytest.fixture
def wrapped(home):
    """grpcio as it is in a wrapped process."""
    with Mesh("greeter") as mesh:
        process.install(mesh)
        incoming.wrap()
        yield mesh
        incoming.unwrap()
        process.reset()


def test_wrapping_and_unwrapping(wrapped):
    """Servers are ours from the one until the other; the mesh's own are left alone."""
    pool = ThreadPoolExecutor(1)
    assert isinstance(grpc.server(pool), AdoptedServer)
    assert isinstance(wrapped.grpc_server(pool), MeshGrpcServer)
    assert not isinstance(wrapped.grpc_server(pool)._server, MeshGrpcServer)

    async def make():
        return grpc.aio.server()

    assert isinstance(asyncio.run(make()), AdoptedAioServer)
    incoming.unwrap()
    assert not isinstance(grpc.server(pool), MeshGrpcServer)
    pool.shutdown()


def test_its_own_tls_is_replaced(wrapped, caplog):
    """A program's own certificate is not shown, and that is said."""
    pool = ThreadPoolExecutor(1)
    server = grpc.server(pool)
    port = server.add_secure_port("127.0.0.1:0", object())
    server.start()
    assert re.search(r"the mesh's certificate in place of the program's", caplog.text)
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
        with context_of(wrapped).wrap_socket(sock) as tls:
            assert "greeter" == tls.mesh_peer.identity.service
    server.stop(0).wait(PATIENCE)
    pool.shutdown()


def test_unix_sockets_stay(wrapped, tmp_path):
    """What is local stays local: served as it was, and registered nowhere."""
    pool = ThreadPoolExecutor(1)
    server = grpc.server(pool)
    handler = grpc.unary_unary_rpc_method_handler(lambda request, _: b"hello " + request)
    server.add_registered_method_handlers("t.Greeter", {"Hello": handler})
    server.add_insecure_port(f"unix:{tmp_path}/socket")
    server.start()
    with grpc.insecure_channel(f"unix:{tmp_path}/socket") as channel:
        assert b"hello x" == channel.unary_unary("/t.Greeter/Hello")(b"x", timeout=PATIENCE)
    assert () == instances(wrapped)
    server.stop(0).wait(PATIENCE)
    pool.shutdown()


def test_only_one_is_registered(wrapped, caplog):
    """An instance is one address: a second server is told that nobody will find it."""
    pool = ThreadPoolExecutor(1)
    servers = [grpc.server(pool) for _ in range(2)]
    ports = []
    for server in servers:
        ports.append(server.add_insecure_port("127.0.0.1:0"))
        server.start()
    (found,) = instances(wrapped)
    assert ports[0] == found.port
    assert "is not the first" in caplog.text
    for server in servers:
        server.stop(None).wait(PATIENCE)
    pool.shutdown()
