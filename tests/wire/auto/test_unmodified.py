"""examples/unmodified: programs that have never heard of the mesh, alone and as part of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from meshlib import Mesh
from meshlib.testing.appear import appear

EXAMPLES = Path(__file__).parents[3] / "examples" / "unmodified"
TRACED = """
import json, os
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter

class ToFile(SpanExporter):
    def export(self, spans):
        with open(os.environ["SPANS"], "a") as file:
            for span in spans:
                service = os.environ["MESHLIB_SERVICE"]
                parent = span.parent and span.parent.span_id
                kind = span.kind.name
                line = [service, kind, span.context.trace_id, span.context.span_id, parent]
                file.write(json.dumps(line) + "\\n")

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ToFile()))
trace.set_tracer_provider(provider)
"""
"""A sitecustomize of the programs' own, as many have one for just this purpose."""


def free_port():
    """One that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


def get(port, path):
    """Status and JSON of an answer, in plaintext."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read()


class Shop:
    """The example's programs, each at a port of its own."""

    def __init__(self, stack, tmp_path, prefix=lambda *_: ()):
        self.stack, self.prefix, self.tmp_path = stack, prefix, tmp_path
        self.processes = []
        self.shop, self.stock, self.prices = free_port(), free_port(), free_port()
        self.environ = {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "PORT": str(self.shop),
            "STOCK_URL": f"http://127.0.0.1:{self.stock}",
            "ADDRESS": f"127.0.0.1:{self.prices}",
            "PRICES_ADDRESS": f"127.0.0.1:{self.prices}",
        }

    def start(self, service, *command, **more):
        """A program; it is ended with the test."""
        out = self.tmp_path / f"{service}-{len(list(self.tmp_path.iterdir()))}.log"
        prefix = self.prefix(service)
        with out.open("w") as log:
            process = subprocess.Popen(
                [*prefix, sys.executable, *command],
                env={**self.environ, **more},
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=EXAMPLES,
            )
        self.processes.append(process)
        self.stack.callback(end, process)
        return process

    def start_all(self):
        """All three."""
        stock = "stock/manage.py", "runserver", "--noreload", f"127.0.0.1:{self.stock}"
        self.start("prices", "prices.py")
        self.start("stock", *stock)
        return self.start("shop", "shop.py")


def end(process):
    """As a service manager does."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def answering(port, path):
    """Somebody serves there, once this is entered."""
    probe = "import socket,sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 1)"
    for _ in range(100):
        tried = subprocess.run(
            [sys.executable, "-c", probe, str(port)], check=False, stderr=subprocess.DEVNULL
        )
        if tried.returncode == 0:
            break
    yield lambda: get(port, path)


def test_alone(tmp_path):
    """Without the mesh they are what they were written to be."""
    with ExitStack() as stack:
        shop = Shop(stack, tmp_path)
        shop.start_all()
        for port in shop.prices, shop.stock:
            stack.enter_context(answering(port, "/"))
        with answering(shop.shop, "/items/lamp") as ask:
            assert (200, {"name": "lamp", "count": 3, "price": "14.90"}) == ask()


@pytest.fixture
def meshed(tmp_path, home):
    """The same, each under `meshlib run`; the shop has an edge."""
    edge = free_port()
    own = tmp_path / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text(TRACED)

    def prefix(service):
        upstream = {
            "shop": ("--upstream", f"127.0.0.1:{shop.stock}=stock", "--edge", f"127.0.0.1:{edge}"),
            "stock": ("--upstream", f"127.0.0.1:{shop.prices}=prices"),
        }
        run = (sys.executable, "-m", "meshlib", "run", "--service", service)
        return (*run, "--home", str(home), *upstream.get(service, ()), "--")

    with ExitStack() as stack:
        shop = Shop(stack, tmp_path, prefix)
        shop.edge, shop.spans = edge, tmp_path / "spans"
        shop.environ |= {"PYTHONPATH": str(own), "SPANS": str(shop.spans)}
        onlooker = stack.enter_context(Mesh("onlooker", home=str(home)))
        shop.start_all()
        for service in "prices", "stock", "shop":
            appear(onlooker, service)
        shop.onlooker = onlooker
        yield shop


def test_meshed(meshed):
    """The answer is the same; on the way there are identities, and one trace."""
    assert (200, {"name": "lamp", "count": 3, "price": "14.90"}) == get(meshed.edge, "/items/lamp")
    with pytest.raises(OSError):  # noqa: PT011 - refused, cut off or silent: nothing comes back
        get(meshed.stock, "/items/")
    for process in meshed.processes:  # a server's span ends after its answer
        end(process)
    spans = [json.loads(line) for line in meshed.spans.read_text().splitlines()]
    servers = {each[0]: each for each in spans if each[1] == "SERVER"}
    clients = {each[3]: each[0] for each in spans if each[1] == "CLIENT"}
    assert {"shop", "stock", "prices"} == servers.keys()
    assert 1 == len({trace for _, _, trace, _, _ in servers.values()})
    assert "shop" == clients[servers["stock"][4]]
    assert "stock" == clients[servers["prices"][4]]


def test_intentions_hold_for_it(meshed):
    """Who may not call is told so, whatever library it calls with; the others go on."""
    run = [sys.executable, "-m", "meshlib"]
    subprocess.run([*run, "deny", "stock", "prices"], check=True, capture_output=True)
    assert 502 == get(meshed.edge, "/items/lamp")[0]
    assert 200 == get(meshed.edge, "/")[0]


def test_one_of_two_is_killed(meshed):
    """Calls that met a dead instance are made again: nobody sees it."""
    second = free_port()
    other = meshed.start(
        "stock", "stock/manage.py", "runserver", "--noreload", f"127.0.0.1:{second}"
    )
    (victim,) = (e for e in appear(meshed.onlooker, "stock", 2) if e.port == int(second))
    statuses = [get(meshed.edge, "/")[0] for _ in range(10)]
    os.kill(int(victim.id.split("-")[-2]), signal.SIGKILL)
    statuses += [get(meshed.edge, "/")[0] for _ in range(40)]
    assert {200} == set(statuses)
    assert 128 + signal.SIGKILL == other.wait(20)
