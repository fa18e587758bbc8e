"""How a gRPC server comes, rotates, says how it is, and leaves."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from meshlib.errors import ConfigError, RegistryUnavailable
from meshlib.serve.grpc.aio_server import MeshAioServer
from meshlib.serve.grpc.server import MeshGrpcServer
from meshlib.serve.options import DrainConfig
from meshlib.testing.ca import ThrowawayCA
from meshlib.trust.bundle import TrustBundle

PATIENCE = 20.0
NAME = "backend.example"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def health_of(caller, service=""):
    stub = health_pb2_grpc.HealthStub(caller.channel)
    return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE).status


def test_life(serve, world, call):
    """It registers once it serves, drains before it stops, and then ends its lease."""
    with serve(world) as backend:
        assert ["register"] == backend.recorder.events
        call(backend).say()
        backend.stop(5)
        assert ["register", "drain", "close"] == backend.recorder.events
        assert grpc.StatusCode.UNAVAILABLE == call(backend).fails().code()


def test_lame_duck(serve, world, call):
    """Between deregistration and the end it serves as ever, and a stop in a hurry ends that."""
    with serve(world, drain=DrainConfig(lame_duck=PATIENCE, grace=5)) as backend:
        deregistered = threading.Event()
        backend.recorder.drain = deregistered.set
        caller = call(backend)
        leaving = threading.Thread(target=backend.stop, args=(5,))
        leaving.start()
        assert deregistered.wait(PATIENCE)
        assert "frontend" == caller.say()["peer"]
        assert NOT_SERVING == health_of(caller)
        backend.stop(None)
        leaving.join(PATIENCE)
        assert not leaving.is_alive()


def test_what_is_in_flight_is_finished(serve, world, call):
    """A server that stops answers what it has begun."""
    with serve(world) as backend:
        held = call(backend).channel.unary_unary("/t.Echo/Hold").future(b"", timeout=PATIENCE)
        assert backend.app.entered.acquire(timeout=PATIENCE)
        leaving = threading.Thread(target=backend.stop, args=(PATIENCE,))
        leaving.start()
        backend.app.release.set()
        assert b"held" == held.result(PATIENCE)
        leaving.join(PATIENCE)
        assert not leaving.is_alive()


def test_health(backend, call):
    """The health service answers for all, and for each service by its name if it is known."""
    caller = call(backend)
    assert SERVING == health_of(caller)
    with pytest.raises(grpc.RpcError) as caught:
        health_of(caller, "nobody")
    assert grpc.StatusCode.NOT_FOUND == caught.value.code()


def test_health_of_a_service(serve, call):
    """A service that generated code has added is known to the health service."""
    with serve("threads") as backend:
        assert SERVING == health_of(call(backend), "t.Echo")


def test_health_is_watched(serve, world, call):
    """Who watches hears that the server leaves."""
    with serve(world, drain=DrainConfig(lame_duck=PATIENCE, grace=0.5)) as backend:
        stub = health_pb2_grpc.HealthStub(call(backend).channel)
        watched = stub.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        assert SERVING == next(watched).status
        leaving = threading.Thread(target=backend.stop, args=(0.5,))
        leaving.start()
        assert NOT_SERVING == next(watched).status
        watched.cancel()
        backend.stop(None)
        leaving.join(PATIENCE)


class Ill(health_pb2_grpc.HealthServicer):
    """The application's own."""

    def Check(self, request, context):  # noqa: N802 - the name is the protocol's
        return health_pb2.HealthCheckResponse(status=NOT_SERVING)


def test_health_of_the_application(serve, world, call):
    """An application that has a health service of its own keeps it."""

    def add(server):
        health_pb2_grpc.add_HealthServicer_to_server(Ill(), server)

    with serve(world, add=add) as backend:
        assert NOT_SERVING == health_of(call(backend))


def test_reflection(serve, world, call):
    """Reflection works as with any server."""

    def add(server):
        reflection.enable_server_reflection(["t.Echo", reflection.SERVICE_NAME], server)

    with serve(world, add=add) as backend:
        stub = reflection_pb2_grpc.ServerReflectionStub(call(backend).channel)
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = stub.ServerReflectionInfo(iter([asked]), timeout=PATIENCE)
        names = {each.name for each in answer.list_services_response.service}
        assert {"t.Echo", reflection.SERVICE_NAME} == names


class Rude(grpc.ServerInterceptor):
    """An interceptor of the application's, which sees details and contexts."""

    def __init__(self):
        self.seen = []

    def intercept_service(self, continuation, details):
        self.seen.append([name for name, _ in details.invocation_metadata])
        return continuation(details)


class RudeInLoop(grpc.aio.ServerInterceptor):
    def __init__(self):
        self.seen = []

    async def intercept_service(self, continuation, details):
        self.seen.append([name for name, _ in details.invocation_metadata])
        return await continuation(details)


@pytest.mark.parametrize(("world", "rude"), [("threads", Rude()), ("loop", RudeInLoop())])
def test_interceptors(serve, call, world, rude):
    """Interceptors of the application work, behind the mesh's: they see no claims."""
    with serve(world, said={"interceptors": [rude]}) as backend:
        call(backend).say(metadata=[("x-mesh-peer", "admin"), ("x-kept", "1")])
    assert "x-kept" in rude.seen[0]
    assert "x-mesh-peer" not in rude.seen[0]


class Generic(grpc.GenericRpcHandler):
    """A generic handler of the application's, for one method of any service."""

    def __init__(self, method, behavior):
        self.method, self.seen = method, []
        self.handler = grpc.unary_unary_rpc_method_handler(behavior)

    def service(self, details):
        if not details.method.endswith(self.method):
            return None
        self.seen.append([name for name, _ in details.invocation_metadata])
        return self.handler


@pytest.mark.parametrize("world", ["threads", "threads-built", "loop", "loop-built"])
def test_generic_handlers(serve, call, ca, world):
    """They are asked in turn, behind the mesh, where they see no claims; so are later ones."""

    def first(request, context):
        return context.mesh_peer.service.encode()

    asked, never = Generic("/Who", first), Generic("/Who", lambda *_: b"never")
    with serve(
        world, add=lambda server: server.add_generic_rpc_handlers([asked, never])
    ) as backend:
        backend.server.add_generic_rpc_handlers((Generic("/Late", first),))
        ours, stranger = call(backend), call(backend, leaf=ca.leaf(uris=[ca.id_of("a")] * 2))
        who = ours.channel.unary_unary("/any/Who")
        assert b"frontend" == who(b"", metadata=[("x-mesh-peer", "admin"), ("x-kept", "1")])
        assert "x-kept" in asked.seen[0]
        assert "x-mesh-peer" not in asked.seen[0]
        assert b"frontend" == ours.channel.unary_unary("/any/Late")(b"")
        assert SERVING == health_of(ours)
        for path in "/any/Who", "/any/Late":
            with pytest.raises(grpc.RpcError) as caught:
                stranger.channel.unary_unary(path)(b"", timeout=PATIENCE)
            assert grpc.StatusCode.UNAUTHENTICATED == caught.value.code()
        assert grpc.StatusCode.UNIMPLEMENTED == ours.fails("Nothing").code()


@pytest.mark.parametrize("world", ["threads", "loop"])
@pytest.mark.parametrize("intercepted", [False, True])
def test_handlers_given_at_the_beginning(serve, call, ca, world, intercepted):
    """They are guarded like those that are added."""
    said = {"handlers": [Generic("/Who", lambda request, context: request)]}
    if intercepted:
        said["interceptors"] = [Rude() if world == "threads" else RudeInLoop()]
    with serve(world, said=said) as backend:
        who = call(backend).channel.unary_unary("/any/Who")
        assert b"hello" == who(b"hello", timeout=PATIENCE)
        stranger = call(backend, leaf=ca.leaf(uris=[ca.id_of("a")] * 2))
        with pytest.raises(grpc.RpcError) as caught:
            stranger.channel.unary_unary("/any/Who")(b"hello", timeout=PATIENCE)
        assert grpc.StatusCode.UNAUTHENTICATED == caught.value.code()


# ---- rotation


def rotated(credentials, ca, *, trust):
    leaf = ca.leaf(uris=[ca.id_of("backend")], dns=[NAME])
    roots = frozenset().union(*(each.bundle.roots for each in trust))
    bundles = {"example.org": TrustBundle("example.org", roots)}
    now = credentials.value
    credentials.set(replace(now, leaf=leaf, bundles=bundles, generation=now.generation + 1))


def test_rotation_under_load(serve, world, call, ca):
    """Certificates and roots are exchanged while calls go on, and not one of them fails.

    The steps are those of a CA's rotation: the new root is trusted, then signs, then is alone.
    """
    new = ThrowawayCA("example.org", now=time.time())
    both = ca.bundle.roots | new.bundle.roots
    with serve(world) as backend:
        old_caller = call(backend, roots=both)
        new_leaf = new.leaf(uris=[new.id_of("frontend")])
        stop, failed, done = threading.Event(), [], []

        def ask(caller):
            while not stop.is_set():
                try:
                    done.append(caller.say()["peer"])
                except grpc.RpcError as error:
                    failed.append(error)

        assert (
            grpc.StatusCode.UNAVAILABLE == call(backend, leaf=new_leaf, roots=both).fails().code()
        )
        asking = threading.Thread(target=ask, args=(old_caller,))
        asking.start()
        rotated(backend.credentials, ca, trust=(ca, new))
        assert "frontend" == call(backend, leaf=new_leaf, roots=both).say()["peer"]
        rotated(backend.credentials, new, trust=(ca, new))
        for _ in range(10):
            rotated(backend.credentials, new, trust=(ca, new))
            assert "frontend" == call(backend, roots=new.bundle.roots).say()["peer"]
        stop.set()
        asking.join(PATIENCE)
        assert [] == failed
        assert {"frontend"} == set(done)
        rotated(backend.credentials, new, trust=(new,))
        assert grpc.StatusCode.UNAUTHENTICATED == old_caller.fails().code()
        assert "frontend" == call(backend, leaf=new_leaf, roots=both).say()["peer"]


def test_federation(serve, world, call, ca):
    """A federated domain vouches for its own members, and for nobody of ours."""
    other = ThrowawayCA("federated.org", now=time.time())
    with serve(world) as backend:
        now = backend.credentials.value
        bundles = {**now.bundles, "federated.org": other.bundle}
        backend.credentials.set(replace(now, bundles=bundles, generation=2))
        friend = other.leaf(uris=[other.id_of("friend")])
        assert other.id_of("friend") == call(backend, leaf=friend).say()["id"]
        impostor = other.leaf(uris=[ca.id_of("frontend")])
        assert grpc.StatusCode.UNAUTHENTICATED == call(backend, leaf=impostor).fails().code()
        assert [b"hello"] == backend.app.calls


# ---- what is refused


def test_no_other_port(backend):
    """A server of the mesh listens for nobody else."""
    with pytest.raises(ConfigError, match="a port of the mesh"):
        backend.server.add_insecure_port("127.0.0.1:0")
    with pytest.raises(ConfigError, match="a port of the mesh"):
        backend.server.add_secure_port("127.0.0.1:0", None)
    with pytest.raises(ConfigError, match="one port"):
        backend.server.add_mesh_port("127.0.0.1:0")


@pytest.mark.parametrize("world", ["threads", "loop"])
def test_port_in_use(serve, world):
    """An address in use is an error at once."""
    with serve(world) as backend, pytest.raises(ConfigError, match="nobody listens"):
        with serve(world, port=backend.port):
            raise AssertionError("it started")


@pytest.mark.parametrize("world", ["threads", "loop"])
def test_registry_down(serve, world):
    """A server that cannot be found does not serve."""

    def register(host, port):
        raise RegistryUnavailable("no registry")

    with pytest.raises(RegistryUnavailable):
        with serve(world, register=register):
            raise AssertionError("it started")


def test_a_server_that_exists_takes_no_arguments():
    """What can only be said when a server is made is refused afterwards."""
    pool = ThreadPoolExecutor(1)
    with pytest.raises(ConfigError, match="the server exists already"):
        MeshGrpcServer(lambda: None, grpc.server(pool), interceptors=[Rude()])
    pool.shutdown()


@pytest.mark.parametrize("has", ["handlers", "interceptors"])
def test_a_loop_server_must_be_bare(has):
    """Handlers that would be reached without the mesh are refused."""
    handler = grpc.method_handlers_generic_handler("t.Echo", {})

    async def make():
        given = {"handlers": [handler]} if has == "handlers" else {"interceptors": [RudeInLoop()]}
        server = grpc.aio.server(**given)
        try:
            MeshAioServer(lambda: None, server)
        finally:
            await server.stop(None)

    with pytest.raises(ConfigError, match="they would run unguarded"):
        asyncio.run(make())


def test_a_grpcio_that_is_different(monkeypatch):
    """A server whose interceptors cannot be found is refused, and the version named."""
    pool = ThreadPoolExecutor(1)
    server = grpc.server(pool)
    monkeypatch.delattr(server._state, "interceptor_pipeline")
    with pytest.raises(Exception, match=f"grpcio {grpc.__version__} keeps"):
        MeshGrpcServer(lambda: None, server)
    pool.shutdown()
