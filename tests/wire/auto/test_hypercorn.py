"""A program that calls hypercorn serves in the mesh and does not know it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import hypercorn.asyncio
import hypercorn.run
import pytest
from hypercorn.config import Config

import meshlib
from meshlib import Mesh
from meshlib.auto import process
from meshlib.auto.incoming import hypercorn as incoming
from meshlib.testing.appear import appear
from meshlib.testing.http2 import Http2
from meshlib.trust.tls import MeshContext
from meshlib.trust.verify import fellows_of

PATIENCE = 20.0


async def app(scope, receive, send):
    """Tell what a program can see of a request."""
    if scope["type"] != "http":
        return
    peer = scope["state"]["mesh_peer"]
    told = [peer and peer.service, scope["http_version"], scope["root_path"]]
    body = json.dumps(told).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def wsgi(environ, start_response):
    start_response("200 OK", [("content-type", "text/plain")])
    return [environ["PATH_INFO"].encode()]


@pytest.fixture
def wrapped(home):
    """hypercorn is wrapped, and the process is a service of the mesh."""
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


def config_of(**settings):
    return Config.from_mapping({"bind": "127.0.0.1:0", **settings})


@contextmanager
def serving(config, what=app, mode=None):
    """`hypercorn.asyncio.serve` on a thread, with the program's own way to end it."""
    loops, stops, failed = [], [], []
    began = threading.Event()

    async def main():
        loops.append(asyncio.get_running_loop())
        stops.append(asyncio.Event())
        began.set()
        await hypercorn.asyncio.serve(what, config, shutdown_trigger=stops[0].wait, mode=mode)

    def target():
        try:
            asyncio.run(main())
        except SystemExit as exc:
            failed.append(exc.code)

    thread = threading.Thread(target=target)
    thread.start()
    assert began.wait(PATIENCE)

    def end():
        if thread.is_alive():
            loops[0].call_soon_threadsafe(stops[0].set)
        return failed

    try:
        yield end
    finally:
        with suppress(RuntimeError):  # its loop has ended meanwhile
            end()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_peers_reach_it_at_its_own_address(wrapped, caller) -> None:
    """It is registered once it listens, knows who calls, and is gone when it has ended."""
    with serving(config_of(root_path="/r")), caller.client() as client:
        appear(caller, "web")
        answer = client.get("http://web/")
    assert ["caller", "1.1", "/r"] == answer.json()
    assert "hypercorn-h11" == answer.headers["server"]
    appear(caller, "web", 0)


def test_it_says_where_it_runs(wrapped, caller, caplog) -> None:
    """As hypercorn does, in its own log."""
    with caplog.at_level("INFO", "hypercorn.error"), serving(config_of()):
        (endpoint,) = appear(caller, "web")
    said = f"Running on https://127.0.0.1:{endpoint.port} (CTRL + C to quit)"
    assert [said] == [
        each.getMessage() for each in caplog.records if each.name == "hypercorn.error"
    ]


def test_http2(wrapped, caller) -> None:
    """A peer that asks for it by ALPN gets it."""
    context = MeshContext(
        caller.credentials,
        server_side=False,
        authorize=fellows_of(caller.credentials),
        clock=time.time,
        alpn=("h2",),
    )
    with serving(config_of(keep_alive_max_requests=2)):
        (endpoint,) = appear(caller, "web")
        sock = socket.create_connection(("127.0.0.1", endpoint.port), PATIENCE)
        with context.wrap_socket(sock) as tls:
            http = Http2(tls)
            for _ in range(2):
                stream = http.get(b"/")
                http.over(stream)
                assert ["caller", "2", ""] == json.loads(http.body[stream])
            while http.read():
                pass
    assert 0 == http.goodbye


def test_it_drains(wrapped, caller) -> None:
    """It is out of the registry while what is in flight goes on, which is then finished."""
    begun, release, loops = threading.Event(), asyncio.Event(), []

    async def held(scope, receive, send):
        if scope["type"] == "http":
            loops.append(asyncio.get_running_loop())
            begun.set()
            await release.wait()
            await app(scope, receive, send)

    with serving(config_of(graceful_timeout=PATIENCE), held) as ending, caller.client() as client:
        appear(caller, "web")
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(client.get, "http://web/")
            assert begun.wait(PATIENCE)
            ending()
            appear(caller, "web", 0)
            loops[0].call_soon_threadsafe(release.set)
            assert 200 == answer.result(PATIENCE).status_code


def test_a_wsgi_application(wrapped, caller) -> None:
    """hypercorn's own bridge is inside of what the mesh puts around it."""
    with serving(config_of(), wsgi, "wsgi"), caller.client() as client:
        appear(caller, "web")
        assert "/path" == client.get("http://web/path").text


def test_several_addresses(wrapped, caller) -> None:
    """All of them speak mutual TLS; the first is the one that is registered."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        both = ["127.0.0.1:0", f"fd://{os.dup(bound.fileno())}"]
        with serving(config_of(bind=both)), caller.client() as client:
            (endpoint,) = appear(caller, "web")
            assert bound.getsockname()[1] != endpoint.port
            assert 200 == client.get("http://web/").status_code
            with socket.create_connection(bound.getsockname(), PATIENCE) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n")
                assert b"" == sock.recv(100)


def test_an_application_wrapped_by_hand(wrapped, caller) -> None:
    """It is not wrapped again: each request is counted once."""
    with serving(config_of(), wrapped.asgi(app)), caller.client() as client:
        appear(caller, "web")
        assert "caller" == client.get("http://web/").json()[0]
    counted = [line for line in wrapped.metrics.text().splitlines() if "_seconds_count{" in line]
    assert [1.0] == [float(line.rpartition(" ")[2]) for line in counted]


def test_certificate_files_are_replaced(wrapped, caller, caplog) -> None:
    """They are not even read; nothing listens in plaintext besides; both are said."""
    files = {"certfile": "none.pem", "keyfile": "none.pem"}
    settings = config_of(**files, insecure_bind="127.0.0.1:0")
    with serving(settings), caller.client() as client:
        appear(caller, "web")
        assert "caller" == client.get("http://web/").json()[0]
    assert "hypercorn: its own TLS is not used" in caplog.text
    assert "hypercorn: insecure_bind is not used" in caplog.text


def test_a_unix_socket_is_refused(wrapped, caplog, tmp_path) -> None:
    """Peers could not reach it."""
    with serving(config_of(bind=f"unix:{tmp_path / 's'}")) as end:
        pass
    assert [3] == end()
    assert "expected a TCP address" in caplog.text


def test_trio_is_refused(wrapped, caplog) -> None:
    """The mesh serves on asyncio, and says so before anything is bound."""
    with pytest.raises(SystemExit):
        hypercorn.run.run(config_of(worker_class="trio"))
    assert "worker_class: 'trio' is not usable" in caplog.text


def test_unwrapped_it_is_as_it_was(wrapped) -> None:
    """A server that starts afterwards speaks plaintext."""
    incoming.unwrap()

    async def plain(scope, receive, send):
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"plain"})

    with socket.create_server(("127.0.0.1", 0)) as bound:
        with serving(config_of(bind=f"fd://{os.dup(bound.fileno())}"), plain):
            with socket.create_connection(bound.getsockname(), PATIENCE) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n")
                assert b"HTTP/1.1 200" == sock.recv(12)


PROGRAM = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})
"""
HOOK = """
from meshlib.auto import incoming
incoming.wrap()
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_the_command(home, caller, tmp_path, workers) -> None:
    """`hypercorn program:app` in one process or in workers, each an instance until SIGTERM."""
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "sitecustomize.py").write_text(HOOK)
    source = Path(meshlib.__file__).parents[1]
    path = f"{tmp_path}{os.pathsep}{source}"
    environ = {**os.environ, "PYTHONPATH": path, "MESHLIB_SERVICE": "web"}
    command = ["hypercorn", "program:app", "--bind", "127.0.0.1:0", "--workers", str(workers)]
    with subprocess.Popen([sys.executable, "-m", *command], cwd=tmp_path, env=environ) as running:
        try:
            appear(caller, "web", workers or 1)
            with caller.client() as client:
                assert "hello" == client.get("http://web/").text
            running.send_signal(signal.SIGTERM)
            appear(caller, "web", 0)
            assert 0 == running.wait(PATIENCE)
        finally:
            running.kill()
