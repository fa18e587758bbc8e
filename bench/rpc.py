"""
What an RPC over the mesh costs, beside grpcio alone: without TLS, and with its own mutual TLS.

Three processes serve the same echo (plain, native mutual TLS, mesh), one calls.  They are three
because grpcio's C has one set of sockets a process: threads of one server would wake for another's.
The mesh is whole at both ends: discovery, balancing, the SPIFFE check, admission.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import grpc
import grpc.aio
from _common import (
    Result,
    at_least,
    at_most,
    interleaved,
    name_of,
    ratio,
    run,
    spread,
    wall_seconds,
)

from meshlib import Mesh
from meshlib.testing.ca import ThrowawayCA

NAME = name_of(__file__)
ROUNDS, FLOODS, CALLS, FLIGHTS, IN_FLIGHT = 15, 25, 200, 1500, 50
MESSAGE = b"x" * 64
PAIR = ("roots", "key", "chain")
METHOD = "/bench.Echo/Echo"


def add_echo(server: grpc.Server) -> None:
    """A servicer that says what it was told, added as generated code does it."""
    _, service, method = METHOD.split("/")
    handlers: dict[str, Any] = {
        method: grpc.unary_unary_rpc_method_handler(lambda request, _: request)
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    server.add_registered_method_handlers(service, handlers)


def write_pair(folder: Path) -> None:
    """A certificate with a DNS name, for grpcio's own TLS at both ends."""
    ca = ThrowawayCA("bench.test", now=time.time())
    made = ca.credentials("bench", dns=["bench"])
    roots = (ssl.DER_cert_to_PEM_cert(root) for root in ca.bundle.roots)
    (folder / "roots.pem").write_text("".join(roots))
    (folder / "key.pem").write_bytes(made.leaf.key_pem)
    (folder / "chain.pem").write_bytes(made.leaf.chain_pem)


def mutual(folder: Path) -> tuple[bytes, bytes, bytes]:
    """Roots, key and chain."""
    roots, key, chain = ((folder / f"{each}.pem").read_bytes() for each in PAIR)
    return roots, key, chain


def serve(home: str, kind: str) -> None:
    """Serve; print the port; end with standard input."""
    if kind == "mesh":
        with Mesh("bench", home=home) as mesh:
            _serve(mesh.grpc_server(ThreadPoolExecutor(8)), 0)
        return
    server = grpc.server(ThreadPoolExecutor(8))
    roots, key, chain = mutual(Path(home) / "pair")
    tls = grpc.ssl_server_credentials([(key, chain)], roots, require_client_auth=True)
    native = kind == "native"
    at = "127.0.0.1:0"
    _serve(server, server.add_secure_port(at, tls) if native else server.add_insecure_port(at))


def _serve(server: grpc.Server, port: int) -> None:
    add_echo(server)
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(0).wait()


def latency(channel: grpc.Channel) -> Callable[[], float]:
    """Median seconds of calls, one after the other."""
    call = channel.unary_unary(METHOD)
    return lambda: median(wall_seconds(lambda: call(MESSAGE)) for _ in range(CALLS))


def flood(channel: grpc.Channel) -> Callable[[], float]:
    """Seconds of many calls, so many at a time, each by a thread."""
    call, pool = channel.unary_unary(METHOD), ThreadPoolExecutor(IN_FLIGHT)

    def work() -> None:
        for answer in [pool.submit(call, MESSAGE) for _ in range(FLIGHTS)]:
            answer.result()

    return lambda: wall_seconds(work)


class Loop:
    """An event loop on a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def run(self, coroutine: Any) -> Any:
        """What comes of it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()


def flood_aio(loop: Loop, make: Callable[[], Any]) -> Callable[[], float]:
    """The same in an event loop."""

    async def opened() -> Any:
        return make()

    channel = loop.run(opened())

    async def some(call: Any) -> None:
        for _ in range(FLIGHTS // IN_FLIGHT):
            await call(MESSAGE)

    async def work() -> None:
        call = channel.unary_unary(METHOD)
        await asyncio.gather(*(some(call) for _ in range(IN_FLIGHT)))

    return lambda: wall_seconds(lambda: loop.run(work()))


@contextmanager
def served() -> Iterator[tuple[str, str, str]]:
    """Serve, each in a process; gives the mesh's home, and where plain and native are."""
    with ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory())
        pair = Path(home) / "pair"
        pair.mkdir()
        write_pair(pair)
        at = {kind: stack.enter_context(_child(home, kind)) for kind in ("mesh", "plain", "native")}
        yield home, at["plain"], at["native"]


@contextmanager
def _child(home: str, kind: str) -> Iterator[str]:
    command = [sys.executable, __file__, "serve", home, kind]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None  # noqa: S101 - for the type checker
        assert child.stdin is not None  # noqa: S101 - the same
        yield f"127.0.0.1:{child.stdout.readline().strip()}"
        child.stdin.close()


def measure() -> Any:
    """One run."""
    with served() as (home, plain_at, native_at), Mesh("front", home=home) as mesh:
        yield from compared(mesh, Path(home) / "pair", plain_at, native_at)


def compared(mesh: Mesh, pair: Path, plain_at: str, native_at: str) -> Any:
    """The contenders, in turns."""
    roots, key, chain = mutual(pair)
    tls = grpc.ssl_channel_credentials(roots, key, chain)
    named = [("grpc.ssl_target_name_override", "bench")]
    ours = mesh.grpc_channel("bench")
    plain, native = grpc.insecure_channel(plain_at), grpc.secure_channel(native_at, tls, named)
    took = interleaved(
        {"mesh": latency(ours), "plain": latency(plain), "native": latency(native)}, rounds=ROUNDS
    )
    text = spread(took["mesh"], took["plain"])
    text += f", {median(took['mesh']) * 1e6:.0f} us against {median(took['plain']) * 1e6:.0f}"
    yield at_most(NAME, "unary p50 / plaintext", ratio(took["mesh"], took["plain"]), 1.5, "x", text)
    more = ratio(took["mesh"], took["native"])
    yield Result(
        NAME, "unary p50 / native TLS", more, "x", detail=spread(took["mesh"], took["native"])
    )
    took = interleaved({"mesh": flood(ours), "native": flood(native)}, rounds=FLOODS)
    yield _throughput("throughput, 50 threads / native TLS", took)
    loop = Loop()
    aio = {
        "mesh": flood_aio(loop, lambda: mesh.grpc_aio_channel("bench")),
        "native": flood_aio(loop, lambda: grpc.aio.secure_channel(native_at, tls, named)),
    }
    yield _throughput("throughput, 50 tasks / native TLS", interleaved(aio, rounds=FLOODS))


def _throughput(case: str, took: dict[str, list[float]]) -> Result:
    text = f"{FLIGHTS / median(took['mesh']):.0f} against {FLIGHTS / median(took['native']):.0f} /s"
    text += f", {spread(took['native'], took['mesh'])}"
    return at_least(NAME, case, ratio(took["native"], took["mesh"]), 0.8, "x", text)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(*sys.argv[2:4])
    else:
        run(measure)
