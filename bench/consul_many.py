"""
What it costs one process to follow 300 services of ten instances each on Consul.

Memory is the resident set over what the process had before its first watch; the processor is asked
while nothing changes, and again while one instance a second comes or goes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _common import Result, at_most, name_of, run

SERVICES, INSTANCES = 300, 10
QUIET = 15.0
"""Seconds."""
CHURN = 15
"""Changes, one a second."""
ROOT = Path(__file__).resolve().parent.parent


def resident() -> float:
    """MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def follow(url: str) -> None:
    """Follow everything; print what it cost, and what was heard of the churn."""
    from meshlib.balance.upstream import Upstream
    from meshlib.control.consul.address import ConsulAddress
    from meshlib.control.consul.plane import ConsulControl
    from meshlib.control.directory import Directory
    from meshlib.model import Bound
    from meshlib.runtime import new_rng, real_clock

    control = ConsulControl(ConsulAddress.parse(url, {}))
    control.services()  # loads and connects what any use of Consul needs
    directory = Directory(control, clock=real_clock, rng=new_rng(), overrides={})
    before, all_there = resident(), threading.Event()
    upstreams: list[Upstream] = []
    watches = [control.endpoints(f"s-{number}") for number in range(SERVICES)]

    def look() -> None:
        if all(isinstance(watch.value, Bound) for watch in watches):
            all_there.set()

    started = time.monotonic()
    for number, watch in enumerate(watches):
        directory.destination(f"s-{number}")
        upstreams.append(directory.upstream(f"s-{number}"))
        watch.subscribe(look)
    if not all_there.wait(60):
        raise TimeoutError([watch for watch in watches if not isinstance(watch.value, Bound)][:3])
    ready = time.monotonic() - started
    time.sleep(3.0)
    spent, since = time.process_time(), time.monotonic()
    time.sleep(QUIET)
    idle = (time.process_time() - spent) / (time.monotonic() - since) * 100
    said = {"memory": resident() - before, "idle": idle, "ready": ready}
    print(json.dumps({**said, "connections": control.connections}), flush=True)
    sys.stdin.readline()
    spent, since = time.process_time(), time.monotonic()
    sys.stdin.readline()
    busy = (time.process_time() - spent) / (time.monotonic() - since) * 100
    heard = sum(len(upstream.states()) for upstream in upstreams)
    print(json.dumps({"busy": busy, "heard": heard}), flush=True)
    os._exit(0)


def register(client: Any, service: int, instance: int) -> None:
    """One instance on a node that needs no agent."""
    body = {
        "Node": f"node-{instance}",
        "Address": "127.0.0.1",
        "Service": {
            "ID": f"s-{service}-{instance}",
            "Service": f"s-{service}",
            "Port": 1000 + instance,
            "Meta": {"version": f"v{instance % 2}", "zone": f"z{instance % 3}"},
            "Connect": {"Native": True},
        },
    }
    client.put("/v1/catalog/register", body)


def measure() -> Iterator[Result]:
    """See the module."""
    from meshlib.testing.consul import CA_READY, ConsulAgent

    name = name_of(__file__)
    found = subprocess.run(
        [ROOT / "scripts" / "get-consul"], capture_output=True, text=True, check=False
    )
    if found.returncode:
        yield Result(name, "no Consul on this machine", None, "", detail=found.stderr.strip())
        return
    with (
        tempfile.TemporaryDirectory(prefix="bench") as folder,
        ConsulAgent(found.stdout.strip(), Path(folder)) as agent,
        agent.client() as client,
    ):
        agent.wait_logged(CA_READY)
        for service in range(SERVICES):
            for instance in range(INSTANCES):
                register(client, service, instance)
        command = [sys.executable, __file__, "--follow", agent.url]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other:
            if other.stdin is None or other.stdout is None:
                raise AssertionError
            said = json.loads(other.stdout.readline())
            what = f"{SERVICES} services of {INSTANCES}"
            yield at_most(name, f"{what}: memory", said["memory"], 60, "MiB")
            yield at_most(name, f"{what}: idle", said["idle"], 3, "% CPU")
            yield at_most(name, f"{what}: connections", said["connections"], 20, "")
            yield Result(name, f"{what}: all known after", said["ready"], "s")
            other.stdin.write("go\n")
            other.stdin.flush()
            for change in range(CHURN):
                register(client, change, INSTANCES)
                time.sleep(1.0)
            time.sleep(5.0)  # the last ones are on their way
            other.stdin.write("stop\n")
            other.stdin.flush()
            churn = json.loads(other.stdout.readline())
            missed = SERVICES * INSTANCES + CHURN - churn["heard"]
            yield Result(name, f"{what}: one change a second", churn["busy"], "% CPU")
            yield at_most(name, f"{what}: changes that were missed", missed, 0, "")


if __name__ == "__main__":
    if "--follow" in sys.argv:
        follow(sys.argv[-1])
    run(measure)
