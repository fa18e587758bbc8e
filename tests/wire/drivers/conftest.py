"""Real servers for the drivers: each its own, on a unix socket in a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from meshlib.context import RequestContext
from meshlib.runtime import real_clock
from meshlib.testing.clock import FakeClock


@pytest.fixture(scope="session")
def folder():
    """A short path: a unix socket's may have about a hundred characters."""
    made = Path(tempfile.mkdtemp(prefix="meshlib-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def tools_of(program, real):
    """Where Debian, or the PATH, has PostgreSQL's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    return found[-1].parent if found else Path(real(program)).parent


@pytest.fixture(scope="session")
def postgres(folder, real_component):
    """The conninfo of a running PostgreSQL."""
    tools, home = tools_of("initdb", real_component), folder / "pg"
    home.mkdir()
    # The server refuses to run as root; Debian's package brings a user for it.
    user = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
    if user:
        folder.chmod(0o755)
        shutil.chown(home, **user)
    data = str(home / "data")

    def call(program, *arguments):
        command = [str(tools / program), *arguments]
        subprocess.run(command, check=True, cwd=home, stdout=subprocess.DEVNULL, **user)

    options = f"-c listen_addresses='' -c unix_socket_directories={home} -c fsync=off"
    call("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale")
    call("pg_ctl", "-D", data, "-w", "-l", str(home / "log"), "-o", options, "start")
    yield home
    call("pg_ctl", "-D", data, "-m", "immediate", "stop")


@pytest.fixture(scope="session")
def redis_socket(folder, real_component):
    """The unix socket of a running Redis."""
    path = folder / "redis.sock"
    command = [real_component("redis-server"), "--port", "0", "--unixsocket", str(path)]
    quiet = ["--save", "", "--appendonly", "no", "--dir", str(folder)]
    with subprocess.Popen([*command, *quiet], stdout=subprocess.PIPE, text=True) as server:
        for line in server.stdout:
            if "eady to accept connections" in line:
                break
        yield str(path)
        server.terminate()
        server.stdout.read()


@pytest.fixture
def within():
    """Be in a request with so many seconds left; on a clock that stands still unless `real`."""
    entered = []

    def enter(seconds, *, real=False):
        clock = real_clock if real else FakeClock()
        context = RequestContext(clock, deadline=clock() + seconds)
        context.enter()
        entered.append(context)

    yield enter
    for context in entered:
        context.ended = True  # it was entered in a loop that is gone, with its own variables
