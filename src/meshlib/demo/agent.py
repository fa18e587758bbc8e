"""
The Consul of `meshlib demo --control consul`: one server on free ports of this machine.

It keeps its state in the demo's home, so that it knows everything again after a `kill -9`; and it
is on a leash like the other processes, so that none is left over.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from meshlib.control.consul.address import ConsulAddress
from meshlib.control.consul.faults import ConsulFault
from meshlib.control.consul.http import ConsulClient
from meshlib.demo.fleet import DemoError, Fleet, Member
from meshlib.testing.consul import Ports

START_LIMIT = 30.0
"""Seconds until it has elected itself and can give identities: a second, on an idle machine."""
_LOOK_EVERY = 0.05
_FETCHED = Path("meshlib/consul/bullseye/usr/bin/consul")
"""Where `scripts/get-consul` puts one, within the cache folder."""


class Agent:
    """A real Consul that may be killed and started again."""

    def __init__(self, fleet: Fleet, home: Path) -> None:
        self._fleet, self._folder = fleet, home / "consul"
        self._ports = Ports.free()
        self._binary = find_consul()

    @property
    def url(self) -> str:
        """What a mesh takes as `control`."""
        return f"consul://127.0.0.1:{self._ports.http}"

    @property
    def member(self) -> Member:
        """The process that was started last."""
        return self._fleet.members["consul"]

    async def start(self) -> None:
        """Start it, and wait until it gives identities.  Raises DemoError."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        settings = self._folder / "agent.json"
        settings.write_text(json.dumps(self._settings()), "utf-8")
        command = [self._binary, "agent", "-config-file", str(settings)]
        leashed = [sys.executable, "-m", "meshlib.demo.leash", *command]
        member = await self._fleet.launch("consul", leashed)
        until = time.monotonic() + START_LIMIT
        client = ConsulClient(ConsulAddress.parse(self.url, {}))
        try:
            while not await asyncio.to_thread(_ready, client):
                if member.code is not None or time.monotonic() > until:
                    raise DemoError(
                        "Consul does not start", why=member.last_words(), hint=f"see {member.log}"
                    )
                await asyncio.sleep(_LOOK_EVERY)
        finally:
            client.close()

    async def kill(self) -> int:
        """`kill -9`; returns the exit code."""
        self.member.kill()
        return await self.member.ended()

    def _settings(self) -> dict[str, Any]:
        return {
            "node_name": "demo",
            "server": True,
            "bootstrap_expect": 1,
            "bind_addr": "127.0.0.1",
            "client_addr": "127.0.0.1",
            "data_dir": str(self._folder / "data"),
            "ports": {**asdict(self._ports), "https": -1, "dns": -1, "grpc": -1},
            "connect": {"enabled": True},
            "performance": {"raft_multiplier": 1},
            "disable_update_check": True,
            "leave_on_terminate": False,
        }


def find_consul() -> str:
    """The path of a Consul.  Raises DemoError when there is none."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    fetched = os.environ.get("MESHLIB_CONSUL_CACHE", "")
    known = (
        os.environ.get("MESHLIB_CONSUL"),
        shutil.which("consul"),
        Path(fetched) / _FETCHED.relative_to("meshlib/consul") if fetched else None,
        Path(cache) / _FETCHED,
    )
    for path in known:
        if path and os.access(path, os.X_OK):
            return str(path)
    raise DemoError(
        "there is no Consul on this machine",
        why="--control consul runs a real one, and `consul` is not on PATH",
        hint="install it, set MESHLIB_CONSUL to its path, or run scripts/get-consul on Debian",
    )


def _ready(client: ConsulClient) -> bool:
    try:
        return client.get("/v1/connect/ca/roots", timeout=2.0).status == 200
    except ConsulFault:
        return False
