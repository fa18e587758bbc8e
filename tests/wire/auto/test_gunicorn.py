"""gunicorn's ways to be told and to look after its workers, under `meshlib run`."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from meshlib import Mesh
from meshlib.testing.appear import appear
from meshlib.testing.launch import launched
from meshlib.trust.tls import MeshContext
from meshlib.trust.verify import fellows_of

PROGRAMS = Path(__file__).parent / "programs"
GUNICORN = (str(Path(sys.executable).parent / "gunicorn"), "backend:app", "--no-control-socket")
ANY = ("--bind", "127.0.0.1:0")


@pytest.fixture
def caller(home):
    """Another member of the mesh."""
    with Mesh("caller") as mesh:
        yield mesh


@pytest.fixture
def folder(tmp_path):
    """A folder of the program's own."""
    shutil.copy(PROGRAMS / "backend.py", tmp_path)
    return tmp_path


def free_port() -> int:
    """One nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


def served_at(mesh, port) -> str:
    """Who serves there, by its certificate."""
    context = MeshContext(
        mesh.credentials,
        server_side=False,
        authorize=fellows_of(mesh.credentials),
        clock=time.time,
    )
    with socket.create_connection(("127.0.0.1", port), 20) as sock:
        with context.wrap_socket(sock) as tls:
            tls.sendall(b"GET /whoami HTTP/1.1\r\nhost: web\r\n\r\n")
            assert tls.recv(100).startswith(b"HTTP/1.1 200")
            return tls.mesh_peer.identity.service


def in_plaintext(port) -> bytes:
    """What it answers to who speaks no TLS, but for TLS's own last word."""
    with socket.create_connection(("127.0.0.1", port), 20) as plain:
        plain.sendall(b"GET /whoami HTTP/1.1\r\nhost: web\r\n\r\n")
        try:
            heard = plain.recv(100)
        except ConnectionResetError:
            return b""
    return b"" if heard[:1] == b"\x15" else heard  # an alert (RFC 8446 section 6)


def log_line(program, pattern) -> str:
    """The next line of its log that matches; what the pattern's group does."""
    for line in program.process.stdout:
        if match := re.search(pattern, line):
            return match[1]
    raise AssertionError(f"it ended without {pattern!r}")


BOOTED = r"Booting worker with pid: (\d+)"


def whoami(client) -> dict[str, object]:
    """Who asked, and which worker answered."""
    answer = client.get("http://web/whoami")
    assert 200 == answer.status_code
    return answer.json()


def test_several_binds(caller) -> None:
    """All of them are the mesh's, and nobody else's; the first one is where peers go."""
    ports = [free_port(), free_port()]
    binds = [word for port in ports for word in ("--bind", f"127.0.0.1:{port}")]
    with launched("web", *GUNICORN, *binds, cwd=PROGRAMS):
        assert [ports[0]] == [each.port for each in appear(caller, "web")]
        assert ["web", "web"] == [served_at(caller, port) for port in ports]
        assert [b"", b""] == [in_plaintext(port) for port in ports]


def test_another_bind_after_sighup(caller, folder) -> None:
    """It is registered where it listens now, and nowhere else."""
    before, after = free_port(), free_port()
    config = folder / "gunicorn.conf.py"
    config.write_text(f"bind = '127.0.0.1:{before}'")
    with launched("web", *GUNICORN, cwd=folder) as program, caller.client(timeout=60) as client:
        assert [before] == [each.port for each in appear(caller, "web")]
        old = whoami(client)["pid"]
        # of another size: bytecode of a file of the same second and size is taken for its own
        config.write_text(f"bind = '127.0.0.1:{after}'  # elsewhere")
        program.process.send_signal(signal.SIGHUP)
        appear(caller, "web", port=after)
        assert "caller" == whoami(client)["peer"]
        assert b"" == in_plaintext(after)
        log_line(program, f"Worker exiting .pid: ({old})")
        with pytest.raises(ConnectionRefusedError):
            in_plaintext(before)
        program.process.terminate()
        appear(caller, "web", 0)
        assert 0 == program.wait()


def test_sighup_changes_the_workers_alone(caller) -> None:
    """The instance is the same one, and calls go on."""
    with (
        launched("web", *GUNICORN, *ANY, cwd=PROGRAMS) as program,
        caller.client(timeout=60) as client,
    ):
        before = appear(caller, "web")
        old = whoami(client)["pid"]
        program.process.send_signal(signal.SIGHUP)
        log_line(program, f"Worker exiting .pid: ({old})")
        assert old != whoami(client)["pid"]
        assert before == appear(caller, "web")


def test_reload(caller, folder) -> None:
    """A changed file makes new workers, which serve in the mesh as the old ones did."""
    command = (*GUNICORN, *ANY, "--reload", "--reload-engine", "poll")
    with launched("web", *command, cwd=folder) as program, caller.client(timeout=60) as client:
        before = appear(caller, "web")
        old = whoami(client)["pid"]
        source = folder / "backend.py"
        source.write_text(source.read_text().replace('"traceparent":', '"changed": True, "t":'))
        log_line(program, f"Worker exiting .pid: ({old})")
        assert whoami(client)["changed"]
        assert before == appear(caller, "web")


@pytest.mark.parametrize("more", [(), ("--preload",)], ids=["", "preload"])
def test_workers_that_are_replaced_after_some_requests(caller, more) -> None:
    """`max_requests` costs no call, and changes no instance."""
    command = (*GUNICORN, *ANY, "--workers", "2", "--max-requests", "3", *more)
    with launched("web", *command, cwd=PROGRAMS), caller.client(timeout=60) as client:
        before = appear(caller, "web")
        pids = {whoami(client)["pid"] for _ in range(20)}
        assert 2 < len(pids)
        assert before == appear(caller, "web")


def test_more_and_fewer_workers(caller) -> None:
    """SIGTTIN and SIGTTOU go to gunicorn, and new workers serve in the mesh."""
    with (
        launched("web", *GUNICORN, *ANY, cwd=PROGRAMS) as program,
        caller.client(timeout=60) as client,
    ):
        before = appear(caller, "web")
        first = log_line(program, BOOTED)
        program.process.send_signal(signal.SIGTTIN)
        second = log_line(program, BOOTED)
        program.process.send_signal(signal.SIGTTOU)
        gone = log_line(program, r"Worker exiting .pid: (\d+)")
        (left,) = {first, second} - {gone}
        assert int(left) == whoami(client)["pid"]
        assert before == appear(caller, "web")


def test_a_worker_that_is_killed(caller) -> None:
    """Another one takes its place; the instance stays."""
    with (
        launched("web", *GUNICORN, *ANY, cwd=PROGRAMS) as program,
        caller.client(timeout=60) as client,
    ):
        before = appear(caller, "web")
        old = int(log_line(program, BOOTED))
        os.kill(old, signal.SIGKILL)
        assert int(log_line(program, BOOTED)) == whoami(client)["pid"]
        assert before == appear(caller, "web")


def test_an_application_that_is_not_there(home, capfd) -> None:
    """gunicorn says so and ends with its own code for that, as it does without the mesh."""
    alone = [*GUNICORN, *ANY]
    alone[1] = "backend:nothing"
    expected = subprocess.run(alone, cwd=PROGRAMS, check=False).returncode
    capfd.readouterr()
    run = (sys.executable, "-m", "meshlib", "run", "--service", "web", "--")
    assert expected == subprocess.run([*run, *alone], cwd=PROGRAMS, check=False).returncode
    assert "the workers did not start" not in capfd.readouterr().err
