"""
`MeshGrpcServer`: a `grpc.Server` that serves peers of the mesh.

Generated code adds its handlers to it as to any other:

    server = mesh.grpc_server(ThreadPoolExecutor(10))
    add_CatalogServicer_to_server(Catalog(), server)
    server.run()

It leaves in this order: deregister, lame duck, no new RPCs, finish those in flight, end the lease.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import grpc

from meshlib.errors import ConfigError, MeshError
from meshlib.serve.grpc.built import intercept, new_thread_server, preceding
from meshlib.serve.grpc.guard import Guard
from meshlib.serve.grpc.health import Health, serving, threads_servicer
from meshlib.serve.grpc.rpcs import Desk
from meshlib.serve.grpc.stay import Stay
from meshlib.serve.grpc.threads import ThreadInterceptor, Threads
from meshlib.serve.stages import Stage

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from meshlib.serve.grpc.handlers import Handler
    from meshlib.serve.options import Listening, ServeOptions

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class MeshGrpcServer(grpc.Server):
    """See the module; `server` is one that exists, or the pool of a new one."""

    def __init__(
        self,
        options: Callable[[], ServeOptions],
        server: grpc.Server | ThreadPoolExecutor | None = None,
        /,
        **said: Any,
    ) -> None:
        desk = self._desk = Desk(options)
        self._stay = Stay(desk)
        self._health = Health(threads_servicer(), Threads(desk).admitted)
        self._services: set[str] = set()
        self._hurry, self._left = threading.Event(), threading.Event()
        self._leaving: threading.Thread | None = None
        self._guard: Guard | None = None
        self._server = self._made(server, said)

    def _made(
        self, server: grpc.Server | ThreadPoolExecutor | None, said: dict[str, Any]
    ) -> grpc.Server:
        desk = self._desk
        first = ThreadInterceptor(desk, self._health)
        if isinstance(server, grpc.Server):
            if said:
                must_be_new(said)
            intercept(server, first)
            return server
        if said.get("interceptors"):
            return new_thread_server(server, desk.options, preceding(first, said))
        self._guard = Guard(Threads(desk).around, self._health)
        return new_thread_server(server, desk.options, self._guard.all_of(said))

    @property
    def listening(self) -> Listening | None:
        """Where it can be reached; None as long as it has no port."""
        return self._stay.listening

    def add_generic_rpc_handlers(
        self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]
    ) -> None:
        """As `grpc.Server` does."""
        if self._guard is None:
            self._server.add_generic_rpc_handlers(generic_rpc_handlers)
        else:
            self._guard.add(generic_rpc_handlers)

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, Handler]
    ) -> None:
        """As `grpc.Server` does; the health service knows the service from now on."""
        self._services.add(service_name)
        if self._guard is not None:
            method_handlers = self._guard.guarded(service_name, method_handlers)
        self._server.add_registered_method_handlers(service_name, method_handlers)

    def add_mesh_port(self, address: str) -> int:
        """Listen at "host:port" with mutual TLS; returns the port, port 0 takes any free one.

        Without it the server listens where the settings say.  Raises ConfigError.
        """
        return self._stay.bind(self._server.add_secure_port, address)

    def add_insecure_port(self, address: str) -> NoReturn:
        """Refuse: peers of the mesh come by `add_mesh_port`, others by the edge."""
        raise no_other_port(address)

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> NoReturn:
        """Refuse, for the same reason."""
        raise no_other_port(address)

    def start(self) -> None:
        """Listen, serve and register; returns once the instance can be found.

        Raises ConfigError, IdentityUnavailable, RegistryUnavailable.
        """
        self._bind()
        self._stay.bind_edge(self._server.add_insecure_port)
        if self._health.servicer is not None:
            for service in self._services:
                self._health.servicer.set(service, serving())
        self._server.start()
        try:
            self._stay.announce()
        except MeshError:
            self._server.stop(None)
            raise

    def stop(self, grace: float | None) -> threading.Event:
        """Leave; returns at once, and the event is set when all is over.

        RPCs in flight get `grace` seconds.  With None, and with a second call, nobody waits for
        anything: RPCs are cut off.
        """
        if grace is None or self._leaving is not None:
            self._stop_at_once(grace)
        else:
            leave = threading.Thread(target=self._leave, args=(grace,), name="meshlib-grpc-leave")
            self._leaving = leave
            leave.start()
        return self._left

    def wait_for_termination(self, timeout: float | None = None) -> bool:
        """Wait until the server has left; whether the time ran out first."""
        if self._server.wait_for_termination(timeout):
            return True
        if self._leaving is not None:
            self._leaving.join(timeout)
        return False

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; then drain, and return.

        A second signal stops at once, a third kills.  Raises what `start` raises.
        """
        with leaving_on_signals(self._told):
            self.start()
            self.wait_for_termination()

    def _bind(self) -> None:
        if self._stay.listening is None:
            self._stay.bind(self._server.add_secure_port)

    def _told(self, times: int) -> None:
        self.stop(self._stay.drain_config.grace if times == 1 else None)

    def _leave(self, grace: float) -> None:
        self._step_down()
        self._hurry.wait(self._stay.drain_config.lame_duck)
        self._desk.stages.advance(Stage.CLOSING)
        self._server.stop(None if self._hurry.is_set() else grace).wait()
        self._stay.leave()
        self._left.set()

    def _stop_at_once(self, grace: float | None) -> None:
        self._hurry.set()
        if self._leaving is not None:
            self._server.stop(grace)
            return
        self._step_down()
        self._desk.stages.advance(Stage.CLOSING)
        self._server.stop(None)
        self._stay.leave()
        self._left.set()

    def _step_down(self) -> None:
        if self._health.servicer is not None:
            self._health.servicer.enter_graceful_shutdown()
        self._stay.drain()


@contextmanager
def leaving_on_signals(told: Callable[[int], None]) -> Iterator[None]:
    """Call `told` with how many SIGTERM and SIGINT there were; after two, a third kills.

    Outside of the main thread signals cannot be heard.
    """
    times = 0

    def hear(*_: object) -> None:
        nonlocal times
        times += 1
        if times > 1:
            for each in SIGNALS:
                signal.signal(each, signal.SIG_DFL)
        told(times)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.signal(each, hear) for each in SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def no_other_port(address: str) -> ConfigError:
    """The refusal of a port that is none of the mesh's."""
    hint = 'add_mesh_port("host:port") for peers, edge="host:port" for those who are none'
    return ConfigError("port", address, "a port of the mesh", hint=hint)


def must_be_new(said: dict[str, Any]) -> NoReturn:
    """Refuse what can only be told to a server that does not exist yet."""
    name, value = next(iter(said.items()))
    hint = "give a pool in place of the server, or leave it out"
    raise ConfigError(name, value, "nothing, as the server exists already", hint=hint)
