"""
`consul connect proxy`: Consul's own sidecar, as it stands beside a program that knows no mesh.

It speaks with Go's TLS, offers ALPN `h2` although it carries bytes as they come, and asks for no
server name.
"""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from meshlib.testing.consul import PATIENCE, ConsulAgent, Journal, free_port


class Program(ThreadingHTTPServer):
    """A program that knows no mesh, and answers everything with its name.  A context manager."""

    daemon_threads = True

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.name = name

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Program

    def do_GET(self) -> None:
        body = self.server.name.encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - it is http.server's
        """Be quiet."""


def plain_get(port: int) -> tuple[int, str]:
    """What a program says to another, by its sidecar.  Raises OSError, HTTPException."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        connection.request("GET", "/")
        response = connection.getresponse()
        return response.status, response.read().decode()


class ConnectProxy:
    """The sidecar of one program.  A context manager; listens when it is entered.

    `program` is the port of the program; `upstreams` are services that it calls through us.  With
    `registers` it is entered in Consul, and can be found.
    """

    def __init__(
        self,
        agent: ConsulAgent,
        service: str,
        program: int,
        upstreams: tuple[str, ...] = (),
        *,
        registers: bool = False,
    ) -> None:
        self.journal, self._registers = Journal(), registers
        with ExitStack() as held:
            self.port = free_port(held)
            """Where others call the program, with mutual TLS."""
            self.upstreams: Mapping[str, int] = {name: free_port(held) for name in upstreams}
            """Where the program calls others, without."""
        self._ports = self.port, *self.upstreams.values()
        self._command = [
            *(agent.binary, "connect", "proxy", "-log-level", "debug"),
            *("-http-addr", f"127.0.0.1:{agent.ports.http}", "-service", service),
            *("-service-addr", f"127.0.0.1:{program}", "-listen", f"127.0.0.1:{self.port}"),
        ]
        for name, port in self.upstreams.items():
            self._command += ["-upstream", f"{name}:{port}"]
        if registers:
            self._command.append("-register")

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(  # noqa: S603 - the tests' own binary and settings
            self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._reader = threading.Thread(
            target=self.journal.read, args=(self._process.stdout,), daemon=True
        )
        self._reader.start()
        try:
            self.journal.wait_for(self._starts_to_listen, "the proxy listens")
            for port in self._ports:
                self._connect(port)
            if self._registers:
                self.journal.wait_for(self._is_registered, "the proxy is registered")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _starts_to_listen(self) -> bool:
        """It says so just before it does."""
        lines = [each for each in self.journal.lines if "Starting listener" in each]
        return all(
            any(f"bind_addr=127.0.0.1:{port}" in line for line in lines) for port in self._ports
        )

    def _is_registered(self) -> bool:
        return any("registered Consul service" in line for line in self.journal.lines)

    def _connect(self, port: int) -> None:
        """Until somebody is there; this side closes at once, which is no fault to the proxy."""
        end = time.monotonic() + PATIENCE
        while True:
            with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                return
            if time.monotonic() > end:
                raise TimeoutError(f"nobody listens at {port}")
