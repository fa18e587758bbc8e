"""
A GET by requests through the whole mesh over mTLS, against plain requests over plaintext.

Both ask the same application under uvicorn with the same settings, each in a process of its own,
by a `Session` that keeps one connection and looks at no environment.  So the first ratio, that of
the latencies, contains what the mesh does in the client and in the server, and TLS on both sides.

The rest is for comparison; nothing was promised of it.  CPU time is that of the calling thread, so
it leaves out the server and whoever else is using the machine.  "Plain over mTLS" is plain requests
with the mesh's certificates, asking the server of the mesh: what is left is the client's work.
"""

from __future__ import annotations

import os
import ssl
import tempfile
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import requests
from _common import Result, at_most, interleaved, name_of, ratio, run, spread
from async_get import servers
from requests.adapters import HTTPAdapter

from meshlib import Mesh
from meshlib.adapters.trust import ClientTrust
from meshlib.model import Bound, Target

ROUNDS = 11
CALLS = 300


def p50(session: requests.Session, url: str, cpu: list[float]) -> float:
    """The median latency of `CALLS` calls, one after the other, in seconds; `cpu` grows by one."""
    latencies = []
    burnt = time.thread_time()
    for _ in range(CALLS):
        began = time.perf_counter()
        response = session.get(url)
        latencies.append(time.perf_counter() - began)
        assert response.ok  # noqa: S101 - a bench of errors is none
    cpu.append((time.thread_time() - burnt) / CALLS)
    return median(latencies)


class OverTLS(HTTPAdapter):
    """requests' own adapter with a context of the mesh, which looks at the peer by itself."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Make every connection with the context."""
        super().init_poolmanager(*args, ssl_context=self._context, assert_hostname=False, **options)

    def cert_verify(self, *_: Any) -> None:
        """The context does."""

    def build_connection_pool_key_attributes(self, *args: Any, **options: Any) -> Any:
        """Of the peer only: nothing of certificates."""
        return super().build_connection_pool_key_attributes(*args, **options)[0], {}


def over_tls(mesh: Mesh) -> tuple[requests.Session, str]:
    """Plain requests that may talk to the server of the mesh, and where that is."""
    context, _ = ClientTrust(mesh.credentials, mesh.control)(Target("server"))
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", OverTLS(context))
    known = mesh.control.endpoints("server").value
    assert isinstance(known, Bound)  # noqa: S101 - it was called just now
    return session, f"https://{known.snapshot.endpoints[0].authority}/"


def measure() -> Iterator[Result]:
    """See the module."""
    burnt: dict[str, list[float]] = {"mesh": [], "plain": [], "plain over mTLS": []}
    with tempfile.TemporaryDirectory() as home:
        os.environ["MESHLIB_HOME"] = home
        with (
            servers(home) as address,
            Mesh("bench") as mesh,
            mesh.requests_session() as through,
            requests.Session() as plain,
        ):
            plain.trust_env = False  # as the mesh has it
            through.get("http://server/")
            secure, secure_address = over_tls(mesh)
            contenders = {
                "mesh": lambda: p50(through, "http://server/", burnt["mesh"]),
                "plain": lambda: p50(plain, address, burnt["plain"]),
                "plain over mTLS": lambda: p50(secure, secure_address, burnt["plain over mTLS"]),
            }
            costs = interleaved(contenders, rounds=ROUNDS)
    cpu = {name: each[-ROUNDS:] for name, each in burnt.items()}
    for kind, of in (("p50", costs), ("CPU", cpu)):
        for other in ("plain", "plain over mTLS"):
            bound = 1.15 if (kind, other) == ("p50", "plain") else None
            yield _ratio(f"{kind}, mesh/{other}", of["mesh"], of[other], bound)


def _ratio(case: str, ours: list[float], theirs: list[float], bound: float | None) -> Result:
    detail = f"{median(ours) * 1e6:.0f} us against {median(theirs) * 1e6:.0f} us"
    detail, value = f"{detail}; {spread(ours, theirs)}", ratio(ours, theirs)
    if bound is None:
        return Result(name_of(__file__), case, value, "x", detail=detail)
    return at_most(name_of(__file__), case, value, bound, "x", detail)


if __name__ == "__main__":
    run(measure)
