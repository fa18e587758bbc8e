"""A program's own gRPC server, in the mesh without a word about it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
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
from meshlib.testing.appear import appear
from meshlib.testing.grpc_call import HandMade
from meshlib.testing.launch import launched
from meshlib.trust.tls import MeshContext
from meshlib.trust.verify import fellows_of

PATIENCE = 20.0
NOTHING = Snapshot("greeter", ())
PROGRAM = Path(__file__).with_name("grpc_program.py")
LENGTH = {"content-length": str(len("begun, finished"))}
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


def test_several_ports(wrapped):
    """All of them have the mesh's TLS; the first one is where peers go."""
    pool = ThreadPoolExecutor(1)
    server = grpc.server(pool)
    handler = grpc.unary_unary_rpc_method_handler(lambda request, _: b"hello " + request)
    server.add_registered_method_handlers("t.Greeter", {"Hello": handler})
    ports = [server.add_insecure_port("127.0.0.1:0") for _ in range(2)]
    server.start()
    assert [ports[0]] == [each.port for each in appear(wrapped, "greeter")]
    for port in ports:
        assert b"hello x" == hello(wrapped, port).message
    server.stop(None).wait(PATIENCE)
    pool.shutdown()


def test_each_is_an_instance(wrapped):
    """Both are registered, by ids of their own; a third one may have that of one that left."""
    pool = ThreadPoolExecutor(1)

    def started():
        server = grpc.server(pool)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        return server, port

    def ports(count):
        return {each.id: each.port for each in appear(wrapped, "greeter", count)}

    (first, first_port), (second, second_port) = started(), started()
    second_id = f"{wrapped.instance}-{second_port}"
    assert {wrapped.instance: first_port, second_id: second_port} == ports(2)
    first.stop(None).wait(PATIENCE)
    assert {second_id: second_port} == ports(1)
    third, third_port = started()
    assert {wrapped.instance: third_port, second_id: second_port} == ports(2)
    for server in second, third:
        server.stop(None).wait(PATIENCE)
    appear(wrapped, "greeter", 0)
    pool.shutdown()


@pytest.mark.parametrize("kind", ["web", "rpc"])
def test_http_and_grpc_in_one_process(home, kind):
    """Each is called by its own protocol, and SIGTERM has both finish what is in flight."""
    program = Path(__file__).with_name("programs") / "both.py"
    with launched("both", sys.executable, str(program), kind) as both, Mesh("frontend") as mesh:
        found = appear(mesh, "both", 2)
        assert {"http", "grpc"} == {each.meta["protocol"] for each in found}
        assert 2 == len({each.id for each in found})
        with mesh.client(timeout=PATIENCE) as client, mesh.grpc_channel("both") as channel:
            say = channel.stream_unary("/Both/Say")
            for _ in range(10):
                assert "x" == client.post("http://both/echo", content=b"x").text
                assert b"xy" == say(iter([b"x", b"y"]), timeout=PATIENCE)

            sending = Sending()
            rpc = say.future(sending.parts(), timeout=PATIENCE)

            def body():
                yield b"begun, "
                sending.begun.wait(PATIENCE)
                both.process.terminate()
                appear(mesh, "both", 0)
                sending.finish.set()
                yield b"finished"

            answer = client.post("http://both/echo", content=body(), headers=LENGTH)
            assert (200, "begun, finished") == (answer.status_code, answer.text)
            assert b"begun, finished" == rpc.result(PATIENCE)
        assert both.wait() in {0, 128 + signal.SIGTERM}


class Sending:
    """Messages of which the last is sent when it is time."""

    def __init__(self):
        self.begun, self.finish = threading.Event(), threading.Event()

    def parts(self):
        """Them."""
        yield b"begun, "
        self.begun.set()
        self.finish.wait(PATIENCE)
        yield b"finished"
