"""An unmodified program's gRPC channels."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace

import grpc
import grpc.aio
import pytest

from meshlib import Denied, Mesh, RegistryUnavailable
from meshlib.auto import meaning
from meshlib.auto.meaning import Meaning
from meshlib.auto.outgoing.grpc_late_aio import LateAioChannel
from meshlib.model import Bound, Pending
from meshlib.watch import Watch

METHOD = "/shop.Shop/Ask"


class Asked(grpc.GenericRpcHandler):
    """Answers every method with what it was sent, and who answered."""

    def __init__(self, name):
        self.name = name.encode()

    def service(self, details):
        shape = details.method.rpartition("/")[2]
        if shape.endswith("_stream") or shape.startswith("stream_"):
            return getattr(grpc, f"{shape}_rpc_method_handler")(getattr(self, shape))
        return grpc.unary_unary_rpc_method_handler(lambda request, _: self.name + b" " + request)

    def unary_stream(self, request, _):
        yield from (self.name, request)

    def stream_unary(self, requests, _):
        return b" ".join((self.name, *requests))

    def stream_stream(self, requests, _):
        yield self.stream_unary(requests, _)


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


class Hesitant:
    """A control plane that says nothing of `greeter` until it is allowed to."""

    def __init__(self, control):
        self._control, self._said = control, Watch(Pending())

    def endpoints(self, service):
        return self._said if service == "greeter" else self._control.endpoints(service)

    def documents(self, service):
        return self._control.documents(service)

    def answer(self):
        """Say what there is."""
        self._said.set(self._control.endpoints("greeter").value)


@pytest.fixture
def hesitant(home, meshed):
    """This process' mesh with such a control plane."""
    mesh = meshed()
    meaning = Meaning(mesh)
    meaning.mesh = SimpleNamespace(
        control=Hesitant(mesh.control), grpc_aio_channel=mesh.grpc_aio_channel
    )
    return meaning


def late(meaning, native):
    """A channel to the greeter."""
    address = "grpc", "greeter", 50051
    return LateAioChannel(
        partial(meaning.service_of, *address),
        meaning.mesh.grpc_aio_channel,
        lambda: grpc.aio.insecure_channel(native),
        knows=partial(meaning.knows, *address),
        decide_later=partial(meaning.service_of_loop, *address),
    )


async def one_answer(call):
    return await call


async def many_answers(call):
    return b" ".join([each async for each in call])


async def read(call):
    return await call.read()


SHAPES = {
    "unary_unary": (b"x", one_answer),
    "unary_stream": (b"x", many_answers),
    "stream_unary": ([b"x"], one_answer),
    "stream_stream": ([b"x"], read),
}


@pytest.mark.parametrize("meant", ["greeter", "foreign"])
@pytest.mark.parametrize("shape", SHAPES)
def test_no_loop_waits_for_the_control_plane(request, hesitant, foreign_grpc, meant, shape):
    """The call is there at once, and becomes one when the loop has heard where it leads."""
    if meant == "greeter":
        request.getfixturevalue("greeter")
    asked, answered = SHAPES[shape]

    async def main():
        async with late(hesitant, foreign_grpc) as channel:
            call = getattr(channel, shape)(f"/shop.Shop/{shape}")(asked, timeout=20)
            ended = asyncio.Event()
            call.add_done_callback(lambda ours: ended.set() if ours is call else None)
            assert not call.done()
            assert 0 < call.time_remaining() <= 20
            hesitant.mesh.control.answer()  # by the loop: it would never be said if that waited
            assert f"{meant} x".encode() == await answered(call)
            if shape == "stream_stream":
                assert grpc.aio.EOF is await call.read()
            assert grpc.StatusCode.OK is await call.code()
            await ended.wait()
            assert call.done()
            assert not call.cancelled()

    asyncio.run(main())


def test_a_call_may_be_cancelled_before_it_is_one(hesitant, foreign_grpc):
    """It ends as a cancelled call does, and nobody is called."""

    async def main():
        async with late(hesitant, foreign_grpc) as channel:
            call = channel.unary_unary(METHOD)(b"x")
            assert call.cancel()
            assert not call.cancel()
            assert call.cancelled()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert grpc.StatusCode.CANCELLED is await call.code()
            awaiting = asyncio.create_task(one_answer(other := channel.unary_unary(METHOD)(b"x")))
            await asyncio.sleep(0)
            awaiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await awaiting
            assert other.cancelled()
            assert {} == channel._either.made

    asyncio.run(main())


def test_what_nobody_can_say_is_an_error_of_the_call(hesitant, foreign_grpc, monkeypatch):
    """Not of the function that makes it."""
    monkeypatch.setattr(meaning, "PATIENCE", 0.01)

    async def main():
        async with late(hesitant, foreign_grpc) as channel:
            call = channel.unary_unary(METHOD)(b"x")
            with pytest.raises(RegistryUnavailable, match="has not answered"):
                await call
            assert grpc.StatusCode.UNAVAILABLE is await call.code()

    asyncio.run(main())


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
