"""The same channels in two worlds: grpcio's own, and the mesh's."""

from __future__ import annotations

import asyncio
import random
import ssl
from dataclasses import dataclass

import grpc
import grpc.aio
import pytest

from meshlib.adapters.aside_sync import Threads
from meshlib.adapters.grpc.open_aio import open_channel as open_aio
from meshlib.adapters.grpc.open_sync import open_channel as open_sync
from meshlib.model import Endpoint
from meshlib.policy.stall import StallMeter
from meshlib.runtime import AsyncRuntime, SyncRuntime

PATIENCE = 20.0


def pem_roots(credentials):
    roots = (root for bundle in credentials.bundles.values() for root in bundle.roots)
    return b"".join(ssl.DER_cert_to_PEM_cert(root).encode() for root in roots)


@dataclass
class Native:
    """Channels of grpcio itself, as an oracle: what it does is what is expected of ours."""

    server: object
    credentials: object

    def open(self, options=(), compression=None, *, port=0):
        named = ("grpc.ssl_target_name_override", "shop")
        return self._open(grpc.secure_channel, port, (*options, named), compression)

    def open_aio(self, options=(), compression=None, interceptors=(), *, port=0):
        named = ("grpc.ssl_target_name_override", "shop")
        return self._open(
            grpc.aio.secure_channel, port, (*options, named), compression, interceptors
        )

    def _open(self, make, port, *more):
        now = self.credentials
        tls = grpc.ssl_channel_credentials(pem_roots(now), now.leaf.key_pem, now.leaf.chain_pem)
        return make(f"127.0.0.1:{port or self.server.endpoint.port}", tls, *more)


@dataclass
class Meshed:
    """Those of the mesh, to the same server."""

    server: object
    shop: object
    aside: object

    def open(self, options=(), compression=None, *, port=0):
        self._bind(port)
        runtime = SyncRuntime(rng=random.Random(3), aside=self.aside)
        return open_sync(self._over(runtime), "shop", options, compression, frozenset())

    def open_aio(self, options=(), compression=None, interceptors=(), *, port=0):
        self._bind(port)
        runtime = AsyncRuntime(rng=random.Random(3))
        over = self._over(runtime)
        return open_aio(over, "shop", options, compression, interceptors, frozenset())

    def _bind(self, port):
        member = self.server.endpoint if not port else Endpoint("proxy", "127.0.0.1", port)
        self.shop.bind(member)

    def _over(self, runtime):
        parts = self.shop.parts
        return lambda service, engine: parts.stack(service, engine(parts), runtime, StallMeter())


@pytest.fixture
def server(ca, serve):
    """A server that grpcio's own channels can call as well: it has a DNS name."""
    return serve(ca.credentials("shop", dns=["shop"]))


@pytest.fixture
def native(server, ca):
    """Channels of grpcio itself."""
    return Native(server, ca.credentials("front"))


@pytest.fixture
def meshed(server, shop):
    """Channels of the mesh."""
    aside = Threads()
    yield Meshed(server, shop, aside)
    aside.close()


@pytest.fixture(params=["native", "meshed"])
def world(request):
    """Each in turn: the first proves that the expectation is what grpcio does."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def channel(world):
    """One channel of each world."""
    with world.open() as channel:
        yield channel


@pytest.fixture
def play(channel):
    """The method that answers as the test says."""
    return channel.unary_unary("/t.T/Play")


@pytest.fixture
def many(channel):
    """The method that answers with many messages."""
    return channel.unary_stream("/t.T/Many")


def run(world, test, **options):
    async def main():
        async with world.open_aio(**options) as channel:
            return await asyncio.wait_for(test(channel), PATIENCE)

    return asyncio.run(main())


@pytest.fixture
def on(world):
    """`on(test, **options)`: `test(channel)` in a loop of its own, in either world."""
    return lambda test, **options: run(world, test, **options)


@pytest.fixture
def on_meshed(meshed):
    """The same where grpcio does otherwise."""
    return lambda test, **options: run(meshed, test, **options)
