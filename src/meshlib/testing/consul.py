"""
A real Consul of a test's own: agents on free loopback ports, ended by their own process ids.

Nothing here needs more than the binary; `scripts/get-consul` finds or fetches one.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from meshlib.control.consul.address import ConsulAddress
from meshlib.control.consul.http import ConsulClient
from meshlib.control.local.certs import new_key

PATIENCE = 30.0
"""Seconds to wait for a line in the log of an agent."""

READY = "Synced node info"
"""An agent says so when it knows a leader and has registered itself."""

CA_READY = "initialized primary datacenter CA"
"""A leader says so when identities can be had."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of one agent, named as in its settings."""

    http: int
    https: int
    serf_lan: int
    serf_wan: int
    server: int

    @classmethod
    def free(cls) -> Ports:
        """Ports nobody has now.

        They lie below those that systems give to outgoing connections, so that they are still
        free when an agent that was killed comes back.
        """
        with ExitStack() as held:
            return cls(*(free_port(held) for _ in range(5)))


def free_port(held: ExitStack) -> int:
    """A port nobody has now, kept from others for as long as it is held."""
    while True:
        port = random.randrange(12000, 32000)  # noqa: S311 - no secret
        with suppress(OSError):
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                sock = held.enter_context(socket.socket(socket.AF_INET, kind))
                sock.bind(("127.0.0.1", port))
            return port


class Journal:
    """What an agent writes to its log."""

    def __init__(self, changed: threading.Condition | None = None) -> None:
        self.changed = changed or threading.Condition()
        self.lines: list[str] = []

    def read(self, stream: Iterator[str]) -> None:
        """Take lines down until the agent has ended."""
        for line in stream:
            with self.changed:
                self.lines.append(line.rstrip())
                self.changed.notify_all()

    def wait_for(self, happened: Callable[[], bool], what: str) -> None:
        """Block until it has happened.  Raises TimeoutError, with the last lines."""
        with self.changed:
            if not self.changed.wait_for(happened, PATIENCE):
                last = "\n".join(self.lines[-15:])
                raise TimeoutError(f"not within {PATIENCE} s: {what}\n{last}")


class ConsulAgent:
    """One Consul process.  A context manager; `config` is merged into its settings."""

    def __init__(
        self,
        binary: str,
        folder: Path,
        *,
        node: str = "agent",
        dev: bool = True,
        config: Mapping[str, Any] | None = None,
        changed: threading.Condition | None = None,
    ) -> None:
        self.binary, self.folder, self.node, self.dev = binary, folder, node, dev
        self.ports = Ports.free()
        self.socket = folder / "http.sock"
        """Its HTTP API, too."""
        self.config = {**self._basics(), **(config or {})}
        self.config["ports"] = {**self._ports(), **(config or {}).get("ports", {})}
        self.journal = Journal(changed)
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._since = 0

    @property
    def url(self) -> str:
        """What a mesh takes as `control`."""
        return f"consul://127.0.0.1:{self.ports.http}"

    @property
    def pid(self) -> int:
        """The process; 0 while there is none."""
        return self._process.pid if self._process else 0

    def address(self, **given: Any) -> ConsulAddress:
        """Where it is; `given` are further fields, such as `token`."""
        return ConsulAddress.parse(self.url, {}, **given)

    @contextmanager
    def client(self, **given: Any) -> Iterator[ConsulClient]:
        """A client of it, closed afterwards."""
        client = ConsulClient(self.address(**given))
        try:
            yield client
        finally:
            client.close()

    def start(self, *, until: str = READY) -> Self:
        """Start it, and return when it has written `until` to its log."""
        self.launch()
        self.wait_logged(until)
        return self

    def launch(self) -> None:
        """Start it, and return at once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = self.folder / "agent.json"
        settings.write_text(json.dumps(self.config), "utf-8")
        mode = ["-dev"] if self.dev else []
        command = [self.binary, "agent", *mode, "-config-file", str(settings)]
        self._since = len(self.journal.lines)
        self._process = subprocess.Popen(  # noqa: S603 - the tests' own binary and settings
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._reader = threading.Thread(
            target=self.journal.read, args=(self._process.stdout,), daemon=True
        )
        self._reader.start()

    def wait_logged(self, text: str) -> None:
        """Block until it has written a line with `text` since it was started."""
        self.journal.wait_for(lambda: self.has_logged(text) or self._ended(), text)
        if not self.has_logged(text):
            last = "\n".join(self.journal.lines[-15:])
            raise RuntimeError(f"Consul ended without {text!r}:\n{last}")

    def has_logged(self, text: str) -> bool:
        """Whether it has written such a line since it was started."""
        return any(text in line for line in self.journal.lines[self._since :])

    def kill(self) -> None:
        """End it at once, as when its machine is lost; nothing if it does not run."""
        self._end(signal.SIGKILL)

    def interrupt(self) -> None:
        """Ask it to end, as a service manager does."""
        self._end(signal.SIGINT)

    def freeze(self) -> None:
        """Have it stand still when this returns: its sockets are open, and nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)  # its threads go on for a moment after the signal

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def restart(self, *, until: str = READY) -> Self:
        """Kill it if it runs, and start it anew: a dev agent has forgotten all it knew."""
        self.kill()
        return self.start(until=until)

    def rotate_ca(self) -> None:
        """Have its CA sign with a new root from now on."""
        key = new_key().private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        )
        config = {"PrivateKey": key.decode(), "LeafCertTTL": "72h"}
        with self.client() as client:
            client.put("/v1/connect/ca/configuration", {"Provider": "consul", "Config": config})

    def __enter__(self) -> Self:
        return self if self._process else self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        process.wait()
        if self._reader is not None:
            self._reader.join()
        if process.stdout is not None:
            process.stdout.close()

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _basics(self) -> dict[str, Any]:
        return {
            "node_name": self.node,
            "bind_addr": "127.0.0.1",
            "addresses": {"http": f"127.0.0.1 unix://{self.socket}"},
            "data_dir": str(self.folder / "data"),
            "disable_update_check": True,
            "log_level": "INFO",
            "performance": {"raft_multiplier": 1},
            "connect": {"enabled": True},
        }

    def _ports(self) -> dict[str, int]:
        return {**asdict(self.ports), "https": -1, "dns": -1, "grpc": -1}
