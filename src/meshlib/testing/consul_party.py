"""
A service of a Consul mesh within a test: it serves and calls, as a `Mesh` does, but is told where.

Identity and intentions come from the real agent.  Whom it calls is an address that the test names,
so that it may be a wrong one; and nothing is tried twice, so that no failure goes unseen.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Any, Self
from uuid import uuid4

import httpx
from cryptography import x509

from meshlib.adapters.aside_async import Tasks
from meshlib.adapters.aside_sync import Threads
from meshlib.adapters.engine_async import AsyncEngine
from meshlib.adapters.engine_sync import SyncEngine
from meshlib.adapters.httpx import face
from meshlib.adapters.trust import ClientTrust
from meshlib.balance.upstream import Upstream
from meshlib.config import RetryConfig, ServingConfig, UpstreamConfig
from meshlib.control.consul.address import ConsulAddress
from meshlib.control.consul.http import ConsulClient
from meshlib.control.consul.identity import ConsulIdentity
from meshlib.control.consul.intentions import ConsulIntentions
from meshlib.control.consul.registrar import ConsulRegistrar
from meshlib.control.registry import Registration
from meshlib.model import Bound, Endpoint, Snapshot, Target
from meshlib.observe.passthrough import Passthrough
from meshlib.observe.quiet import Quiet
from meshlib.policy.backoff import Backoff
from meshlib.policy.budget import RetryBudget
from meshlib.route.table import straight
from meshlib.runtime import AsyncRuntime, Runtime, SyncRuntime, new_rng, real_clock
from meshlib.serve.asgi import MeshASGI
from meshlib.serve.authorize import Authorization
from meshlib.serve.options import DrainConfig, Listening, ServeOptions
from meshlib.serve.sockets import listen
from meshlib.serve.uvicorn import AsgiServer
from meshlib.stack.client import Destination, client_stack
from meshlib.stack.service import AttemptService, CallService
from meshlib.trust.permission import Request
from meshlib.trust.verify import fellows_of
from meshlib.watch import Watch

PATIENCE = 20.0
"""Seconds for a server to start or to end."""
IDLE = 20.0
_ANY = Request("GET", "/")


class Party:
    """A service with an identity.  A context manager."""

    def __init__(self, address: ConsulAddress, service: str) -> None:
        self.service = service
        self._client = ConsulClient(address)
        self.identity = ConsulIdentity(self._client)
        self.intentions = ConsulIntentions(self._client)
        self._registrar = ConsulRegistrar(self._client, event=Quiet().control_event)
        self.credentials = self.identity.credentials(service)
        self._trust = ClientTrust(self.credentials, self)

    # ---- what it knows of others

    @property
    def oldest_tls(self) -> ssl.TLSVersion:
        """As on every mesh of Consul's."""
        return ssl.TLSVersion.TLSv1_2

    def spiffe_id(self, service: str, datacenter: str = "") -> str:
        """Whom it expects."""
        return self.identity.spiffe_id(service, datacenter)

    def server_name(self, service: str, subset: str = "", datacenter: str = "") -> str:
        """What it asks for."""
        return self.identity.server_name(service, subset, datacenter)

    # ---- calling

    @contextmanager
    def client(self, service: str, port: int) -> Iterator[httpx.Client]:
        """A client for which `service` is at this port."""
        engine, aside = SyncEngine(self._trust, clock=real_clock, idle=IDLE), Threads()
        stack = self._stack(service, port, engine, SyncRuntime(aside=aside))
        try:
            with httpx.Client(transport=face(httpx).transport(lambda _: stack)) as client:
                yield client
        finally:
            aside.close()
            engine.close()

    @asynccontextmanager
    async def async_client(self, service: str, port: int) -> AsyncIterator[httpx.AsyncClient]:
        """The same for an event loop."""
        engine, aside = AsyncEngine(self._trust, clock=real_clock, idle=IDLE), Tasks()
        stack = self._stack(service, port, engine, AsyncRuntime(aside=aside))
        try:
            transport = face(httpx).async_transport(lambda _: stack)
            async with httpx.AsyncClient(transport=transport) as client:
                yield client
        finally:
            await aside.close()
            await engine.close()

    def greet(self, service: str, port: int, datacenter: str = "") -> int:
        """Ask over a connection of its own; the serial number of the peer's certificate.

        Raises OSError, HTTPException.
        """
        context, _ = self._trust(Target(service, datacenter=datacenter))
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
            connection = HTTPConnection(service)
            connection.sock = context.wrap_socket(sock, server_hostname=service)
            with closing(connection.sock), closing(connection):
                connection.request("GET", "/")
                response = connection.getresponse()
                if response.status != HTTPStatus.OK:
                    raise HTTPException(f"{response.status} {response.read().decode()}")
                response.read()
                der = connection.sock.getpeercert(binary_form=True)
        return x509.load_der_x509_certificate(der or b"").serial_number

    def _stack(
        self, service: str, port: int, engine: AttemptService, runtime: Runtime
    ) -> CallService:
        config = Watch(UpstreamConfig(retry=RetryConfig(attempts=1)), ready=True)
        upstream = Upstream(service, real_clock, new_rng(), config.value)
        endpoint = Endpoint(f"{service}-{port}", "127.0.0.1", port)
        upstream.update(Bound(Snapshot(service, (endpoint,))))
        destination = Destination(
            service=service,
            config=config,
            table=Watch(straight(Target(service)), ready=True),
            upstream=lambda _: upstream,
            backoff=config.map(lambda value: value.retry.backoff).map(Backoff),
            budget=Watch(RetryBudget(real_clock, config.value.retry.budget), ready=True),
        )
        return client_stack(
            destination, engine, runtime=runtime, tracer=Passthrough(), listener=Quiet()
        )

    # ---- serving

    def options(self, **more: Any) -> ServeOptions:
        """How `serve` is to serve it: registered with the agent, and under its intentions."""
        serving = Watch(ServingConfig(), ready=True)
        watch = self.intentions.intentions(self.service)
        instance = f"{self.service}-{uuid4().hex[:8]}"
        allowed = Authorization(self.service, watch, serving, self.credentials, Quiet())
        given = {"drain": DrainConfig(lame_duck=0.0, grace=5.0), **more}
        return ServeOptions(
            service=self.service,
            instance=instance,
            credentials=self.credentials,
            authorize=fellows_of(self.credentials),
            oldest_tls=self.oldest_tls,
            authorization=allowed,
            tracer=Passthrough(),
            listener=Quiet(),
            register=lambda host, port: self._registrar.register(
                Registration(self.service, instance, host, port)
            ),
            **given,
        )

    @contextmanager
    def serving(self, app: Any, **more: Any) -> Iterator[int]:
        """Serve an ASGI application from a thread; its port."""
        began, where = threading.Event(), list[Listening]()

        def started(listening: Listening) -> None:
            where.append(listening)
            began.set()

        options = self.options(started=started, **more)
        with listen("127.0.0.1", 0, field="port") as main:
            server = AsgiServer(MeshASGI(app, options), options, main, None)
            thread = threading.Thread(target=server.run, name=f"serve-{self.service}")
            thread.start()
            try:
                if not began.wait(PATIENCE):
                    raise TimeoutError(f"{self.service} did not start")
                yield where[0].port
            finally:
                server.stop()
                thread.join(PATIENCE)

    def until_decided(self, source: str, *, allowed: bool) -> None:
        """Block until a write of an intention about a caller has arrived.  Raises TimeoutError."""
        watch, arrived = self.intentions.intentions(self.service), threading.Event()

        def look() -> None:
            if watch.ready and watch.value.decide(source, _ANY).allowed is allowed:
                arrived.set()

        stop = watch.subscribe(look)
        try:
            if not arrived.wait(PATIENCE):
                raise TimeoutError(f"{source} -> {self.service} is not {allowed=}")
        finally:
            stop()

    def close(self) -> None:
        """Leave Consul."""
        self._registrar.close()
        self.intentions.close()
        self.identity.close()
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def who_calls(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application that answers with the service of its caller."""
    if scope["type"] != "http":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = scope["state"]["mesh_peer"].service.encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def who_calls_wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """The same for WSGI."""
    body = environ["mesh.peer"].service.encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
