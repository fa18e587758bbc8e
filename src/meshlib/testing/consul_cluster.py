"""Three real Consul servers and a client agent, of a test's own."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from meshlib.testing.consul import CA_READY, READY, ConsulAgent


class ConsulCluster:
    """Three servers, and a client agent to speak to.  A context manager."""

    def __init__(
        self,
        binary: str,
        folder: Path,
        *,
        config: Mapping[str, Any] | None = None,
        datacenter: str = "dc1",
    ) -> None:
        self._changed = threading.Condition()
        common = {"datacenter": datacenter, "retry_interval": "200ms", **(config or {})}
        server = {**common, "server": True, "bootstrap_expect": 3}

        def agent(node: str, settings: Mapping[str, Any]) -> ConsulAgent:
            return ConsulAgent(
                binary, folder / node, node=node, dev=False, config=settings, changed=self._changed
            )

        self.servers = [agent(f"server-{number}", server) for number in range(3)]
        self.client_agent = agent("client", common)
        join = [f"127.0.0.1:{each.ports.serf_lan}" for each in self.servers]
        for each in self.agents:
            each.config["retry_join"] = join

    @property
    def agents(self) -> list[ConsulAgent]:
        """All four."""
        return [*self.servers, self.client_agent]

    @property
    def url(self) -> str:
        """The client agent's."""
        return self.client_agent.url

    def start(self) -> Self:
        """Start all; return when there are a leader, a CA and a client agent that knows both."""
        for each in self.agents:
            each.launch()
        for each in self.agents:
            each.wait_logged(READY)
        self.servers[0].journal.wait_for(
            lambda: any(each.has_logged(CA_READY) for each in self.servers), CA_READY
        )
        return self

    def leader(self) -> ConsulAgent:
        """The server that leads now.  Raises ConsulFault, StopIteration while there is none."""
        with self.client_agent.client() as client:
            where = client.get("/v1/status/leader").body
        return next(each for each in self.servers if where == f"127.0.0.1:{each.ports.server}")

    def close(self) -> None:
        """End all that run."""
        for each in self.agents:
            each.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()
