"""Unmodified Flask, Django and WSGI programs under `meshlib run`, with the servers they have."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from pathlib import Path

import httpx
import pytest

from meshlib import Mesh
from meshlib.testing.appear import appear
from meshlib.testing.launch import launched

PROGRAMS = Path(__file__).parent / "programs"
BIN = Path(sys.executable).parent
PYTHON = sys.executable
GUNICORN = (str(BIN / "gunicorn"), "backend:app", "--no-control-socket")
HOSTS = {
    "app.run": (PYTHON, "backend.py", "PORT"),
    "flask run": (str(BIN / "flask"), "--app", "backend", "run", "--port", "PORT"),
    "gunicorn": (*GUNICORN, "--bind", "127.0.0.1:PORT"),
    "gunicorn preloaded": (*GUNICORN, "--bind", "127.0.0.1:PORT", "--preload", "-w", "2"),
    "runserver": (PYTHON, "django_app.py", "runserver", "--noreload", "127.0.0.1:PORT"),
    "python -m gunicorn": (
        *(PYTHON, "-m", "gunicorn", "django_app:application", "--no-control-socket"),
        *("-k", "gthread", "--bind", "127.0.0.1:PORT"),
    ),
}


@pytest.fixture
def caller(home):
    """Another member of the mesh."""
    with Mesh("caller") as mesh:
        yield mesh


def free_port() -> str:
    """One nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return str(sock.getsockname()[1])


def at(port, command):
    """The command, with that port."""
    return tuple(each.replace("PORT", port) for each in command)


def in_plaintext(port) -> bytes:
    """What a server answers to who does not speak TLS, but for TLS's own last word."""
    with socket.create_connection(("127.0.0.1", port), 20) as plain:
        plain.sendall(b"GET /whoami HTTP/1.1\r\nhost: web\r\n\r\n")
        try:
            heard = plain.recv(100)
        except ConnectionResetError:
            return b""
    return b"" if heard[:1] == b"\x15" else heard  # an alert (RFC 8446 section 6)


@pytest.mark.parametrize("command", HOSTS.values(), ids=HOSTS)
def test_host(caller, command) -> None:
    """Peers reach it at its own port and are known, plaintext is not, and SIGTERM drains it."""
    port = free_port()
    with launched("web", *at(port, command), cwd=PROGRAMS) as program:
        (endpoint,) = appear(caller, "web")
        assert int(port) == endpoint.port
        with caller.client() as client:
            assert "caller" == client.get("http://web/whoami").json()["peer"]
        assert b"" == in_plaintext(int(port))
        program.process.terminate()
        appear(caller, "web", 0)
        assert program.wait() in {0, 128 + signal.SIGTERM}


def test_silence_holds_nobody_up(caller) -> None:
    """Connections that say nothing leave a server without threads free for others."""
    port = free_port()
    command = (str(BIN / "flask"), "--app", "backend", "run", "--without-threads", "-p", port)
    with launched("web", *command, cwd=PROGRAMS):
        appear(caller, "web")
        silent = [socket.create_connection(("127.0.0.1", int(port)), 20) for _ in range(8)]
        with caller.client() as client:
            assert 200 == client.get("http://web/whoami").status_code
        for each in silent:
            each.close()


@pytest.mark.parametrize("name", ["app.run", "gunicorn"])
def test_the_edge(caller, name) -> None:
    """Whoever has no identity is nobody, and served at the edge alone."""
    edge = free_port()
    run = ("--edge", f"127.0.0.1:{edge}")
    with launched("web", *at(free_port(), HOSTS[name]), run=run, cwd=PROGRAMS):
        appear(caller, "web")
        with httpx.Client(trust_env=False) as browser:
            assert browser.get(f"http://127.0.0.1:{edge}/whoami").json()["peer"] is None


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (("-k", "gevent", "--bind", "127.0.0.1:PORT"), "worker_class: 'gevent' is not usable"),
        (("--bind", "unix:SOCKET"), "bind: 'SOCKET' is not usable"),
    ],
    ids=["gevent", "unix"],
)
def test_gunicorn_that_cannot_be_in_the_mesh(home, more, named) -> None:
    """It says what would be right, and serves nothing."""
    with launched("web", *at(free_port(), (*GUNICORN, *more)), cwd=PROGRAMS) as program:
        assert 3 == program.wait()
        assert named in program.said


def test_another_port_than_was_expected(caller) -> None:
    """The launcher says where it is."""
    port, expected = free_port(), free_port()
    command = at(port, HOSTS["app.run"])
    with launched("web", *command, run=("--port", expected), cwd=PROGRAMS) as program:
        for line in program.process.stdout:
            if " serves at " in line:
                break
        assert line.startswith("meshlib run: ")
        assert line.endswith(f" serves at 127.0.0.1:{port}, and not at port {expected}\n")


def test_one_of_two_is_killed_under_load(caller) -> None:
    """Calls of an unmodified frontend are retried at the other one: not one of them fails."""
    edge = free_port()
    front = (PYTHON, "frontend.py", free_port(), "http://127.0.0.1:9")
    run = ("--upstream", "127.0.0.1:9=backend", "--edge", f"127.0.0.1:{edge}")
    load = Load(f"http://127.0.0.1:{edge}/")
    command = HOSTS["app.run"]
    with (
        launched("backend", *at(free_port(), command), cwd=PROGRAMS) as victim,
        launched("backend", *at(free_port(), command), cwd=PROGRAMS),
        launched("front", *front, run=run, cwd=PROGRAMS),
    ):
        appear(caller, "backend", 2)
        appear(caller, "front")
        with load:
            load.wait(20)
            os.killpg(victim.process.pid, signal.SIGKILL)
            load.wait(40)
    assert {200} == set(load.answers)


class Load:
    """Somebody who asks, again and again, while the block lasts."""

    def __init__(self, url) -> None:
        self.url, self.answers = url, []
        self.more, self.enough = threading.Condition(), threading.Event()
        self.thread = threading.Thread(target=self.ask)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_) -> None:
        self.enough.set()
        self.thread.join(30)

    def ask(self) -> None:
        with httpx.Client(trust_env=False, timeout=30) as browser:
            while not self.enough.is_set():
                status = browser.get(self.url).status_code
                with self.more:
                    self.answers.append(status)
                    self.more.notify_all()

    def wait(self, more) -> None:
        """Until there are so many answers more."""
        with self.more:
            until = len(self.answers) + more
            assert self.more.wait_for(lambda: len(self.answers) >= until, 40)


def test_too_many_who_say_nothing(caller) -> None:
    """There is room for so many newcomers; the oldest makes way, and peers are served."""
    port = free_port()
    with launched("web", *at(port, HOSTS["app.run"]), cwd=PROGRAMS):
        appear(caller, "web")
        silent = [socket.create_connection(("127.0.0.1", int(port)), 20) for _ in range(300)]
        assert b"" == silent[0].recv(1)
        with caller.client() as client:
            assert 200 == client.get("http://web/whoami").status_code
        for each in silent:
            each.close()
