"""
A real Envoy as the sidecar of a service: mutual TLS inwards and outwards, and nobody above it.

The certificates are those of a `Watch[Credentials]`, handed over in a file that Envoy watches, so
that they rotate with it.
"""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from meshlib.trust.bundle import Credentials
from meshlib.watch import Watch

TYPES = "type.googleapis.com/envoy.extensions."
READY = "starting main dispatch loop"
CERTIFICATE, ROOTS = "certificate", "roots"


class Sidecar:
    """One Envoy, for the service of `credentials`.  A context manager.

    Inwards it leads to `application`, a port, for callers that it `allows`, if they ask for one of
    the `server_names`; outwards to `upstream`, a port, where somebody must prove to be whom it
    `expects`.  It trusts the roots of its credentials, or `trusts`.  With `one_each` it makes a
    connection for each request; with `h2` it speaks HTTP/2 to everybody, as gRPC needs.  `workers`
    is how many threads it serves with.
    """

    def __init__(  # noqa: PLR0913 - a configuration
        self,
        binary: str,
        folder: Path,
        credentials: Watch[Credentials],
        *,
        application: int = 0,
        allows: str = "",
        upstream: int = 0,
        expects: str = "",
        server_names: Sequence[str] = (),
        trusts: Iterable[bytes] = (),
        one_each: bool = False,
        h2: bool = False,
        workers: int = 1,
    ) -> None:
        self._binary, self._folder, self._credentials = binary, folder, credentials
        self._workers = workers
        self._trusts = tuple(trusts)
        self._process: subprocess.Popen[str] | None = None
        self._admin = ""
        self._clusters = [_cluster("application", _address(application), h2=h2)]
        self._listeners = [_inbound(folder, allows, server_names, h2=h2)] if allows else []
        if upstream:
            tls = _upstream_tls(folder, expects, h2=h2)
            where = _address(upstream)
            self._clusters.append(_cluster("upstream", where, one_each=one_each, h2=h2, tls=tls))
            self._listeners.append(_listener("outbound", [{"filters": [_http("upstream")]}]))
        self._forget: Callable[[], None] | None = None

    @property
    def inbound(self) -> int:
        """The port where peers of the mesh reach it."""
        return self._port("inbound")

    @property
    def outbound(self) -> int:
        """The port where its application reaches the upstream."""
        return self._port("outbound")

    def __enter__(self) -> Self:
        self._forget = self._credentials.subscribe(self._write_secrets)
        config, admin = self._folder / "envoy.json", self._folder / "admin"
        config.write_text(json.dumps(self._bootstrap()), "utf-8")
        command = [self._binary, "-c", str(config), "--use-dynamic-base-id", "-l", "info"]
        workers = ["--concurrency", str(self._workers)]
        self._process = subprocess.Popen(  # noqa: S603 - the tests' own binary and settings
            [*command, *workers, "--admin-address-path", str(admin)],
            stderr=subprocess.PIPE,
            text=True,
        )
        self._wait_ready(self._process)
        self._admin = admin.read_text("utf-8").strip()
        return self

    def __exit__(self, *_: object) -> None:
        if self._forget is not None:
            self._forget()
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def stats(self, prefix: str) -> str:
        """Its counters that begin so, one a line."""
        return str(self._ask(f"/stats?usedonly&filter=^{prefix}"))

    def count(self, name: str) -> int:
        """One counter; 0 if it was never used."""
        lines = dict(line.rsplit(": ", 1) for line in self.stats(name).splitlines())
        return int(lines.get(name, 0))

    def _port(self, name: str) -> int:
        listeners = json.loads(self._ask("/listeners?format=json"))["listener_statuses"]
        [found] = [each for each in listeners if each["name"] == name]
        return int(found["local_address"]["socket_address"]["port_value"])

    def _ask(self, path: str) -> str:
        connection = http.client.HTTPConnection(self._admin, timeout=20)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def _wait_ready(self, process: subprocess.Popen[str]) -> None:
        log: list[str] = []
        assert process.stderr is not None  # noqa: S101 - it is a pipe
        for line in process.stderr:
            log.append(line)
            if READY in line:
                break
        else:
            raise RuntimeError(f"Envoy did not start: {''.join(log[-10:])}")
        threading.Thread(target=_drain, args=(process,), daemon=True).start()

    def _write_secrets(self) -> None:
        """Replace the files at once, which is what Envoy watches for."""
        credentials = self._credentials.value
        bundles = credentials.bundles.values()
        roots = self._trusts or [root for bundle in bundles for root in bundle.roots]
        pem = "".join(map(ssl.DER_cert_to_PEM_cert, roots))
        leaf = credentials.leaf
        pair = {
            "certificate_chain": {"inline_string": leaf.chain_pem.decode()},
            "private_key": {"inline_string": leaf.key_pem.decode()},
        }
        self._write(CERTIFICATE, {"tls_certificate": pair})
        self._write(ROOTS, {"validation_context": {"trusted_ca": {"inline_string": pem}}})

    def _write(self, name: str, secret: dict[str, Any]) -> None:
        kind = f"{TYPES}transport_sockets.tls.v3.Secret"
        new = self._folder / f"{name}.new"
        new.write_text(json.dumps({"resources": [{"@type": kind, "name": name, **secret}]}))
        new.replace(self._folder / f"{name}.json")

    def _bootstrap(self) -> dict[str, Any]:
        return {
            "node": {"id": "sidecar", "cluster": "sidecar"},
            "admin": {"address": _address(0)},
            "static_resources": {"listeners": self._listeners, "clusters": self._clusters},
        }


def _drain(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None  # noqa: S101 - it is a pipe
    with process.stderr:
        for _ in process.stderr:
            pass


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _listener(name: str, chains: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"name": name, "address": _address(0), "filter_chains": chains, **more}


def _inbound(folder: Path, allows: str, server_names: Sequence[str], *, h2: bool) -> dict[str, Any]:
    """Consul's `public_listener`: mutual TLS, then the intentions as ids that are let in."""
    common = _common(folder, h2=h2)
    chain: dict[str, Any] = {
        "transport_socket": _tls("Downstream", common, require_client_certificate=True),
        "filters": [_rbac(allows), _http("application")],
    }
    if not server_names:
        return _listener("inbound", [chain])
    chain["filter_chain_match"] = {"server_names": list(server_names)}
    inspector = f"{TYPES}filters.listener.tls_inspector.v3.TlsInspector"
    filters = [{"name": "inspector", "typed_config": {"@type": inspector}}]
    return _listener("inbound", [chain], listener_filters=filters)


def _rbac(allows: str) -> dict[str, Any]:
    """As Consul writes it: any trust domain and datacentre, one service."""
    pattern = f"^spiffe://[^/]+/ns/default/dc/[^/]+/svc/{allows}$"
    name = {"safe_regex": {"regex": pattern}}
    policy = {
        "permissions": [{"any": True}],
        "principals": [{"authenticated": {"principal_name": name}}],
    }
    return {
        "name": "intentions",
        "typed_config": {
            "@type": f"{TYPES}filters.network.rbac.v3.RBAC",
            "stat_prefix": "intentions",
            "rules": {"action": "ALLOW", "policies": {"all": policy}},
        },
    }


def _http(cluster: str) -> dict[str, Any]:
    route = {"match": {"prefix": "/"}, "route": {"cluster": cluster}}
    router = {"@type": f"{TYPES}filters.http.router.v3.Router"}
    return {
        "name": "http",
        "typed_config": {
            "@type": f"{TYPES}filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": cluster,
            "route_config": {
                "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]
            },
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
        },
    }


def _cluster(
    name: str,
    where: dict[str, Any],
    *,
    one_each: bool = False,
    h2: bool = False,
    tls: dict[str, Any] | None = None,
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": name,
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": where}}]}],
        },
    }
    if tls is not None:
        made["transport_socket"] = tls
    if one_each or h2:
        kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        made["typed_extension_protocol_options"] = {
            kind: {
                "@type": f"type.googleapis.com/{kind}",
                "explicit_http_config": {
                    "http2_protocol_options" if h2 else "http_protocol_options": {}
                },
                "common_http_protocol_options": (
                    {"max_requests_per_connection": 1} if one_each else {}
                ),
            }
        }
    return made


def _upstream_tls(folder: Path, expects: str, *, h2: bool) -> dict[str, Any]:
    """The whole id, compared exactly."""
    san = {"san_type": "URI", "matcher": {"exact": expects}}
    return _tls("Upstream", _common(folder, h2=h2, match_typed_subject_alt_names=[san]))


def _common(folder: Path, *, h2: bool, **match: Any) -> dict[str, Any]:
    return {
        "alpn_protocols": ["h2"] if h2 else [],
        "tls_certificate_sds_secret_configs": [_secret(folder, CERTIFICATE)],
        "combined_validation_context": {
            "default_validation_context": match,
            "validation_context_sds_secret_config": _secret(folder, ROOTS),
        },
    }


def _secret(folder: Path, name: str) -> dict[str, Any]:
    source = {
        "path": str(folder / f"{name}.json"),
        "watched_directory": {"path": str(folder)},
    }
    return {
        "name": name,
        "sds_config": {"path_config_source": source, "resource_api_version": "V3"},
    }


def _tls(side: str, common: dict[str, Any], **more: Any) -> dict[str, Any]:
    kind = f"{TYPES}transport_sockets.tls.v3.{side}TlsContext"
    config = {"@type": kind, "common_tls_context": common, **more}
    return {"name": "envoy.transport_sockets.tls", "typed_config": config}
