"""
How long it takes until another process acts on what was written to Consul.

One other process hears of each write twice: on a raw blocking query of its own, and as what the
mesh makes of it (the next pick, the next split).  Both are timed on the one clock of this machine,
from before the write; so agent, network and noise are the same for both.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import quantiles
from typing import Any

from _common import Result, at_most, name_of, run

WRITES = 100
PAUSE = 0.12, 0.25
"""Seconds between two writes, drawn at random: under a storm of them followers pace themselves, and
hear several at once (`control.consul.pace`)."""
OVER_RAW = 15.0
"""Milliseconds that the mesh may add at the 99th percentile."""
SERVICE = "bench"
RNG = random.Random(1)
ROOT = Path(__file__).resolve().parent.parent


def percentile_99(values: list[float]) -> float:
    """Of milliseconds."""
    return quantiles(values, n=100, method="inclusive")[98]


# ---- the other process


def listen(url: str) -> None:
    """Print `kind what seconds` for everything heard, until standard input ends."""
    from meshlib.control.consul.address import ConsulAddress
    from meshlib.control.consul.http import ConsulClient
    from meshlib.control.consul.plane import ConsulControl
    from meshlib.control.directory import Directory
    from meshlib.runtime import new_rng, real_clock

    saying = threading.Lock()

    def say(kind: str, what: object) -> None:
        with saying:
            print(json.dumps([kind, what, time.monotonic()]), flush=True)

    address = ConsulAddress.parse(url, {})
    control = ConsulControl(address)
    directory = Directory(control, clock=real_clock, rng=new_rng(), overrides={})
    destination, upstream = directory.destination(SERVICE), directory.upstream(SERVICE)

    def picked() -> None:
        if upstream.picker() is not None:
            say("pick", sorted(state.endpoint.id for state in upstream.states()))

    def routed() -> None:
        legs = destination.table.value.routes[-1].split.legs
        say("split", sorted(float(leg.weight) for leg in legs))

    control.endpoints(SERVICE).subscribe(picked)
    destination.table.subscribe(routed)

    def raw(kind: str, path: str, read: Callable[[Any], object]) -> None:
        client, index = ConsulClient(address), 0
        while True:
            answer = client.wait(path, index=index)
            index = answer.index
            say(kind, read(answer.body))

    watches = {
        "raw-pick": (f"/v1/health/connect/{SERVICE}", _ids),
        "raw-split": (f"/v1/discovery-chain/{SERVICE}", _weights),
    }
    for kind, (path, read) in watches.items():
        threading.Thread(target=raw, args=(kind, path, read), daemon=True).start()
    sys.stdin.read()
    os._exit(0)


def _ids(body: Any) -> list[str]:
    return sorted(each["Service"]["ID"] for each in body)


def _weights(body: Any) -> list[float]:
    nodes = body["Chain"]["Nodes"].values()
    splitters = [node for node in nodes if node["Type"] == "splitter"]
    return sorted(float(split.get("Weight", 0)) for node in splitters for split in node["Splits"])


# ---- this one


class Ear:
    """What the other process has heard so far."""

    def __init__(self, stream: Any) -> None:
        self._heard: dict[tuple[str, str], float] = {}
        self._changed = threading.Condition()
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def when(self, kind: str, what: object) -> float:
        """The moment it was first heard; waits for it."""
        key = kind, json.dumps(what)
        with self._changed:
            if not self._changed.wait_for(lambda: key in self._heard, 20):
                raise TimeoutError(f"{key} was not heard; heard were {list(self._heard)[-5:]}")
            return self._heard[key]

    def _read(self, stream: Any) -> None:
        for line in stream:
            kind, what, at = json.loads(line)
            with self._changed:
                self._heard.setdefault((kind, json.dumps(what)), at)
                self._changed.notify_all()


def registrations(client: Any, ear: Ear) -> tuple[list[float], list[float]]:
    """Milliseconds until the mesh picks from the new set, and until the raw query answers."""
    ids: list[str] = []
    mesh, raw = [], []
    for number in range(WRITES):
        ids.append(f"i-{number:03}")
        body = {"ID": ids[-1], "Name": SERVICE, "Address": "127.0.0.1", "Port": 1 + number}
        time.sleep(RNG.uniform(*PAUSE))
        begun = time.monotonic()
        client.put("/v1/agent/service/register", {**body, "Connect": {"Native": True}})
        mesh.append((ear.when("pick", ids) - begun) * 1e3)
        raw.append((ear.when("raw-pick", ids) - begun) * 1e3)
    return mesh, raw


def splits(client: Any, ear: Ear) -> tuple[list[float], list[float]]:
    """The same for a splitter that is written."""
    filters = {name: {"Filter": f'Service.Meta.version == "{name}"'} for name in ("v1", "v2")}
    for body in (
        {"Kind": "service-defaults", "Name": SERVICE, "Protocol": "http"},
        {"Kind": "service-resolver", "Name": SERVICE, "Subsets": filters},
    ):
        client.put("/v1/config", body)
    mesh, raw = [], []
    for number in range(1, WRITES + 1):
        first = number / 4
        legs = [{"Weight": 100 - first, "ServiceSubset": "v1"}]
        legs.append({"Weight": first, "ServiceSubset": "v2"})
        time.sleep(RNG.uniform(*PAUSE))
        begun = time.monotonic()
        client.put("/v1/config", {"Kind": "service-splitter", "Name": SERVICE, "Splits": legs})
        said = sorted([float(first), float(100 - first)])
        mesh.append((ear.when("split", said) - begun) * 1e3)
        raw.append((ear.when("raw-split", said) - begun) * 1e3)
    return mesh, raw


def measure() -> Iterator[Result]:
    """See the module."""
    from meshlib.testing.consul import CA_READY, ConsulAgent

    found = subprocess.run(
        [ROOT / "scripts" / "get-consul"], capture_output=True, text=True, check=False
    )
    name = name_of(__file__)
    if found.returncode:
        yield Result(name, "no Consul on this machine", None, "ms", detail=found.stderr.strip())
        return
    with (
        tempfile.TemporaryDirectory(prefix="bench") as folder,
        ConsulAgent(found.stdout.strip(), Path(folder)) as agent,
        agent.client() as client,
    ):
        agent.wait_logged(CA_READY)
        command = [sys.executable, __file__, "--listen", agent.url]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other:
            ear = Ear(other.stdout)
            for what, work in (
                ("registration -> first pick", registrations),
                ("splitter written -> first split", splits),
            ):
                mesh, raw = map(percentile_99, work(client, ear))
                detail = f"raw blocking query: {raw:.1f} ms"
                yield at_most(name, f"{what}, p99", mesh, raw + OVER_RAW, "ms", detail)
            if other.stdin is not None:
                other.stdin.close()


if __name__ == "__main__":
    if "--listen" in sys.argv:
        listen(sys.argv[-1])
    run(measure)
