"""An unmodified program's gRPC channels."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import grpc.aio
import pytest

from meshlib import Denied, Mesh
from meshlib.model import Bound

METHOD = "/shop.Shop/Ask"


class Asked(grpc.GenericRpcHandler):
    """Answers every method with what it was sent, and who answered."""

    def __init__(self, name):
        self.name = name.encode()

    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, _: self.name + b" " + request)


@pytest.fixture
def foreign_grpc():
    """The address of a gRPC server that has nothing to do with the mesh."""
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, handlers=[Asked("foreign")])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()


@pytest.fixture
def greeter(home):
    """The service of that name, which speaks gRPC."""
    with Mesh("greeter") as mesh, ThreadPoolExecutor(2) as pool:
        server = mesh.grpc_server(pool)
        server.add_generic_rpc_handlers((Asked("greeter"),))
        server.start()
        yield server
        server.stop(None).wait()


OLD = "127.0.0.1:9"
TARGETS = [
    "greeter",
    "greeter:50051",
    "dns:///greeter:50051",
    OLD,
    "ipv4:127.0.0.1:9",
    "localhost:9",
]


def ask(target, **options):
    """One RPC of a new channel, without asyncio."""
    with grpc.insecure_channel(target, **options) as channel:
        return channel.unary_unary(METHOD)(b"x", timeout=20)


def ask_aio(target, **options):
    """The same with asyncio."""

    async def main():
        async with grpc.aio.insecure_channel(target, **options) as channel:
            return await channel.unary_unary(METHOD)(b"x", timeout=20)

    return asyncio.run(main())


@pytest.fixture(params=[ask, ask_aio], ids=["sync", "aio"])
def asker(request):
    """Both kinds of channels."""
    return request.param


@pytest.mark.parametrize("target", TARGETS)
def test_a_service_is_called_by_its_name_and_by_its_old_address(asker, greeter, meshed, target):
    """All forms of a target that mean it."""
    meshed(f"{OLD}=greeter")
    assert b"greeter x" == asker(target)


def test_options_are_kept(asker, greeter, meshed):
    """Those that are not about who and where."""
    meshed()
    limit = [("grpc.max_send_message_length", 0)]
    with pytest.raises(grpc.RpcError) as caught:
        asker("greeter:50051", options=limit)
    assert grpc.StatusCode.RESOURCE_EXHAUSTED is caught.value.code()
    assert b"greeter x" == asker("greeter:50051", compression=grpc.Compression.Gzip)


def test_a_secure_channel_to_a_service_is_the_meshs(greeter, meshed):
    """Credentials of the program are not used: the mesh has its own."""
    meshed()
    credentials = grpc.ssl_channel_credentials()
    with grpc.secure_channel("greeter:50051", credentials) as channel:
        assert b"greeter x" == channel.unary_unary(METHOD)(b"x", timeout=20)


def test_all_shapes_go_through_a_late_channel(greeter, meshed):
    """`with_call`, `future` and interceptors, too."""
    meshed()

    class Interceptor(grpc.UnaryUnaryClientInterceptor):
        def intercept_unary_unary(self, continuation, details, request):
            return continuation(details, request + b"y")

    with grpc.insecure_channel("greeter:50051") as channel:
        method = channel.unary_unary(METHOD)
        response, call = method.with_call(b"x", timeout=20)
        assert (b"greeter x", grpc.StatusCode.OK) == (response, call.code())
        assert b"greeter x" == method.future(b"x", timeout=20).result()
        changed = grpc.intercept_channel(channel, Interceptor())
        assert b"greeter xy" == changed.unary_unary(METHOD)(b"x", timeout=20)


def test_a_service_that_comes_later_is_called_then(home, meshed):
    """A channel that was made before there was such a service finds it when there is."""
    mesh = meshed()
    with grpc.insecure_channel("greeter:50051") as channel:
        method = channel.unary_unary(METHOD)
        with pytest.raises(grpc.RpcError):
            method(b"x", timeout=20)
        known = threading.Event()
        watch = mesh.control.endpoints("greeter")
        watch.subscribe(lambda: isinstance(watch.value, Bound) and known.set())
        with Mesh("greeter") as serving, ThreadPoolExecutor(2) as pool:
            server = serving.grpc_server(pool)
            server.add_generic_rpc_handlers((Asked("greeter"),))
            server.start()
            assert known.wait(20)
            assert b"greeter x" == method(b"x", timeout=20)
            server.stop(None).wait()


def test_a_foreign_server_is_called_as_ever(asker, foreign_grpc, meshed):
    """And the channel is grpc's own."""
    meshed()
    assert b"foreign x" == asker(foreign_grpc)
    with grpc.insecure_channel(foreign_grpc) as channel:
        assert "grpc._channel" == type(channel).__module__


def test_egress_can_be_denied(asker, foreign_grpc, meshed):
    """Each RPC fails as an RPC does, and says what to do."""
    meshed(egress="deny")
    with pytest.raises(grpc.RpcError, match="MESHLIB_UPSTREAM_ADDRESSES") as caught:
        asker(foreign_grpc)
    assert isinstance(caught.value, Denied)
    assert grpc.StatusCode.PERMISSION_DENIED is caught.value.code()
    assert f"calls to {foreign_grpc} are refused" in caught.value.details()


def test_a_future_fails_as_a_future(foreign_grpc, meshed):
    """`future()` does not raise."""
    meshed(egress="deny")
    with grpc.insecure_channel(foreign_grpc) as channel:
        failed = channel.unary_unary(METHOD).future(b"x")
    assert grpc.StatusCode.PERMISSION_DENIED is failed.exception().code()


def test_without_a_control_plane_nothing_is_guessed(asker, meshed, home):
    """A bare name is not called in plaintext because nobody can be asked."""
    meshed(control="consul://127.0.0.1:9")
    with pytest.raises(
        grpc.RpcError, match="nobody can say whether backend is a service"
    ) as caught:
        asker("dns:///backend:50051")
    assert grpc.StatusCode.UNAVAILABLE is caught.value.code()


def test_a_bare_name_that_is_no_service_is_foreign(asker, meshed, home):
    """It is grpc's own error then, for there is no such host."""
    meshed()
    with pytest.raises(grpc.RpcError) as caught:
        asker("nobody-is-called-so:50051")
    assert "mesh" not in str(caught.value)
