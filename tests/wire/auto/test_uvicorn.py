"""A program that calls uvicorn serves in the mesh and does not know it."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

import meshlib
from meshlib import Mesh
from meshlib.auto import process
from meshlib.auto.incoming import uvicorn as incoming
from meshlib.errors import ConfigError
from meshlib.testing.appear import appear

PATIENCE = 20.0


async def app(scope, receive, send):
    """Tell what a program can see of a request."""
    if scope["type"] != "http":
        return
    told = {
        "peer": scope["state"]["mesh_peer"] and scope["state"]["mesh_peer"].service,
        "edge": scope["state"]["mesh_edge"],
        "scheme": scope["scheme"],
        "client": scope["client"][0],
        "root": scope["root_path"],
    }
    body = json.dumps(told).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def wsgi(environ, start_response):
    start_response("200 OK", [("content-type", "text/plain")])
    return [environ["PATH_INFO"].encode()]


@pytest.fixture
def wrapped(home):
    """uvicorn is wrapped, and the process is a service of the mesh."""
    with Mesh("web") as mesh:
        process.install(mesh)
        incoming.wrap()
        yield mesh
        incoming.unwrap()
        process.reset()


@pytest.fixture
def caller(home):
    with Mesh("caller") as mesh:
        yield mesh


@contextmanager
def serving(server, run=None):
    """The server on a thread."""
    failed = []

    def target():
        try:
            (run or server.run)()
        except SystemExit as exc:
            failed.append(exc.code)

    thread = threading.Thread(target=target)
    thread.start()
    try:
        yield failed
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive()


def server_of(what=app, **settings):
    return uvicorn.Server(uvicorn.Config(what, port=0, log_config=None, **settings))


@pytest.mark.parametrize("parser", ["h11", "httptools"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_peers_reach_it_at_its_own_address(wrapped, caller, parser, loop) -> None:
    """It is registered once it listens, knows who calls, and is gone when it has ended."""
    with serving(server_of(http=parser, loop=loop, root_path="/r")), caller.client() as client:
        (endpoint,) = appear(caller, "web")
        told = client.get("http://web/", headers={"x-forwarded-for": "1.2.3.4"}).json()
        assert b"" == plaintext(endpoint.port)
    assert ("caller", False) == (told["peer"], told["edge"])
    assert ("https", "/r") == (told["scheme"], told["root"])
    assert "1.2.3.4" == told["client"]
    appear(caller, "web", 0)


def plaintext(port) -> bytes:
    """What somebody without TLS hears."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n")
        try:
            return sock.recv(100)
        except ConnectionResetError:
            return b""


def test_the_programs_own_settings(wrapped, caller) -> None:
    """Proxy headers are believed only where the program does, and its server header is kept."""
    server = server_of(proxy_headers=False, headers=[("x-mine", "1")], timeout_keep_alive=7)
    with serving(server), caller.client() as client:
        appear(caller, "web")
        answer = client.get("http://web/", headers={"x-forwarded-for": "1.2.3.4"})
        assert 7 == server.config.timeout_keep_alive
    assert "127.0.0.1" == answer.json()["client"]
    assert ("uvicorn", "1") == (answer.headers["server"], answer.headers["x-mine"])


def test_a_default_keep_alive_is_that_of_the_mesh(wrapped, caller) -> None:
    """Five seconds would close connections that peers are about to use."""
    server = server_of()
    with serving(server):
        appear(caller, "web")
        assert 60 == server.config.timeout_keep_alive


def test_it_drains(wrapped, caller) -> None:
    """It is out of the registry while what is in flight goes on, which is then finished."""
    begun, release, loops = threading.Event(), asyncio.Event(), []

    async def held(scope, receive, send):
        if scope["type"] == "http":
            loops.append(asyncio.get_running_loop())
            begun.set()
            await release.wait()
            await app(scope, receive, send)

    server = server_of(held)
    with serving(server), caller.client() as client:
        appear(caller, "web")
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(client.get, "http://web/")
            assert begun.wait(PATIENCE)
            server.should_exit = True
            appear(caller, "web", 0)
            loops[0].call_soon_threadsafe(release.set)
            assert 200 == answer.result(PATIENCE).status_code


@pytest.mark.filterwarnings("ignore:Uvicorn's native WSGI")
def test_a_wsgi_application(wrapped, caller) -> None:
    """uvicorn's own bridge is inside of what the mesh puts around it."""
    server = server_of(wsgi, interface="wsgi", proxy_headers=False)
    with serving(server), caller.client() as client:
        appear(caller, "web")
        assert "/path" == client.get("http://web/path").text
    server.config.loaded_app.app.executor.shutdown()


def test_a_factory(wrapped, caller) -> None:
    """What the factory makes is wrapped, not the factory."""
    with serving(server_of(lambda: app, factory=True)), caller.client() as client:
        appear(caller, "web")
        assert "caller" == client.get("http://web/").json()["peer"]


def test_an_application_wrapped_by_hand(wrapped, caller) -> None:
    """It is not wrapped again: each request is counted once."""
    with serving(server_of(wrapped.asgi(app))), caller.client() as client:
        appear(caller, "web")
        assert "caller" == client.get("http://web/").json()["peer"]
    counted = [line for line in wrapped.metrics.text().splitlines() if "_seconds_count{" in line]
    assert [1.0] == [float(line.rpartition(" ")[2]) for line in counted]


def test_serve_in_a_loop_of_the_programs(wrapped, caller) -> None:
    """`await server.serve()` is wrapped as well."""
    server = server_of()
    with serving(server, lambda: asyncio.run(server.serve())), caller.client() as client:
        appear(caller, "web")
        assert 200 == client.get("http://web/").status_code


def test_a_socket_of_the_programs(wrapped, caller) -> None:
    """What it has bound, or was given as a file descriptor, is what is served."""
    with socket.create_server(("127.0.0.1", 0)) as bound, caller.client() as client:
        port = bound.getsockname()[1]
        with serving(server_of(fd=bound.fileno())):
            assert port == appear(caller, "web")[0].port
            assert 200 == client.get("http://web/").status_code


def test_the_edge(home, caller, monkeypatch) -> None:
    """A browser reaches it at a second address, and is nobody."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("MESHLIB_EDGE", f"127.0.0.1:{port}")
    with Mesh("web") as mesh:
        process.install(mesh)
        incoming.wrap()
        try:
            with serving(server_of()):
                appear(caller, "web")
                told = httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).json()
        finally:
            incoming.unwrap()
            process.reset()
    assert (None, True) == (told["peer"], told["edge"])


def test_certificate_files_are_replaced(wrapped, caller, caplog, tmp_path) -> None:
    """The mesh's mutual TLS takes the place of the program's own TLS, and says so."""
    from meshlib.testing.ca import ThrowawayCA

    leaf = ThrowawayCA("example.org", now=0).leaf(dns=("localhost",), uris=())
    (tmp_path / "pem").write_bytes(leaf.key_pem + leaf.chain_pem)
    server = server_of(ssl_certfile=tmp_path / "pem", ssl_keyfile=tmp_path / "pem")
    with caplog.at_level(logging.WARNING), serving(server), caller.client() as client:
        appear(caller, "web")
        assert "caller" == client.get("http://web/").json()["peer"]
    assert "uvicorn: its own TLS is not used" in caplog.text


class Own(H11Protocol):
    """A protocol of a program's own, made of uvicorn's."""


class Other(asyncio.Protocol):
    """A protocol that has nothing of uvicorn's."""


def test_a_protocol_made_of_uvicorns(wrapped, caller) -> None:
    """It is kept."""
    with serving(server_of(http=Own)), caller.client() as client:
        appear(caller, "web")
        assert "caller" == client.get("http://web/").json()["peer"]


@pytest.mark.parametrize("settings", [{"http": Other}, {"uds": "SOCKET"}], ids=["protocol", "uds"])
def test_what_cannot_serve_in_the_mesh(wrapped, caplog, tmp_path, settings) -> None:
    """It is refused with what would be right; nothing is served instead."""
    settings = {name: tmp_path / "s" if name == "uds" else it for name, it in settings.items()}
    with serving(server_of(**settings)) as failed:
        pass
    assert [3] == failed
    assert "is not usable\n  why:  expected" in caplog.text
    assert not (tmp_path / "s").exists()


def test_an_unknown_parser_is_named() -> None:
    """The error says which setting it is."""
    from meshlib.serve.options import PeerLimits
    from meshlib.serve.protocols import FromMesh, extended

    with pytest.raises(ConfigError, match=r"http: 'Other' is not usable"):
        extended(Other, PeerLimits(), FromMesh)


def test_unwrapped_it_is_as_it_was(wrapped) -> None:
    """A server that starts afterwards speaks plaintext."""
    incoming.unwrap()
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
        server = server_of(lambda_app, fd=os.dup(bound.fileno()))
        with serving(server):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            connection.request("GET", "/")
            assert b"plain" == connection.getresponse().read()
            connection.close()


async def lambda_app(scope, receive, send):
    if scope["type"] == "http":
        assert "mesh_peer" not in scope.get("state", {})
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"plain"})


PROGRAM = """
import os
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""
HOOK = """
from meshlib.auto import incoming
incoming.wrap()
"""


@pytest.fixture
def program(home, tmp_path, monkeypatch):
    """`program(*command)` runs it in a folder with `site.py`'s hook and `program.py`."""
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "sitecustomize.py").write_text(HOOK)
    source = Path(meshlib.__file__).parents[1]
    environ = {
        **os.environ,
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{source}",
        "MESHLIB_SERVICE": "web",
    }
    running = []

    def start(*command):
        running.append(
            subprocess.Popen([sys.executable, "-m", *command], cwd=tmp_path, env=environ)
        )
        return running[-1]

    yield start
    for each in running:
        each.kill()
        each.wait(PATIENCE)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_command(program, caller, workers) -> None:
    """`uvicorn program:app --workers N` is so many instances, and each leaves on SIGTERM."""
    running = program("uvicorn", "program:app", "--port", "0", "--workers", str(workers))
    assert 1 == len({endpoint.port for endpoint in appear(caller, "web", workers)})
    with caller.client() as client:
        assert str(running.pid) != client.get("http://web/").text or workers == 1
    running.send_signal(signal.SIGTERM)
    appear(caller, "web", 0)
    assert running.wait(PATIENCE) in {0, -signal.SIGTERM}


def test_tls_without_a_certificate_is_not_served(wrapped, caller) -> None:
    """Whoever has no identity of the mesh hears not one byte."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with serving(server_of()):
        (endpoint,) = appear(caller, "web")
        with socket.create_connection(("127.0.0.1", endpoint.port), PATIENCE) as sock:
            heard = b""
            with suppress(OSError), context.wrap_socket(sock) as tls:
                tls.sendall(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n")
                heard = tls.recv(100)
    assert b"" == heard
