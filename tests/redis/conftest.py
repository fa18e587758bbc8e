"""A real Redis of one test's own: it is started on a free port, and ended by its process id."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest
import redis


class RedisServer:
    """A redis-server that keeps nothing on disk."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.port = _free_port()
        self.process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Return once it answers: it says so in its log."""
        command = [self.program, "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--save", "", "--appendonly", "no", "--daemonize", "no"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if "Ready to accept connections" in line:
                break
        else:
            pytest.fail("redis-server ended before it was ready")
        # its log must be read, or it would block; the pipe ends with the process
        self.reader = threading.Thread(target=self.process.stdout.read, daemon=True)
        self.reader.start()

    def kill(self) -> None:
        """At once, as when its machine is lost."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.reader.join()
            self.process.stdout.close()
            self.process = None

    def keys(self) -> list[str]:
        with redis.Redis.from_url(self.url) as client:
            return sorted(key.decode() for key in client.scan_iter())

    def forget(self) -> None:
        """Lose all counts."""
        with redis.Redis.from_url(self.url) as client:
            client.flushdb()

    def ttl(self, key: str) -> int:
        with redis.Redis.from_url(self.url) as client:
            return client.pttl(key)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.fixture
def redis_server(real_component: Callable[[str], str]) -> Iterator[RedisServer]:
    server = RedisServer(real_component("redis-server"))
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of something that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"
