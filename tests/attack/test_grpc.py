"""Bad credentials against the gRPC clients: unary RPCs are spoken here, others go by the pump."""

from __future__ import annotations

import random

import grpc
import pytest

from meshlib.adapters.grpc.open_aio import open_channel as open_aio
from meshlib.adapters.grpc.open_sync import open_channel as open_sync
from meshlib.adapters.stacks import Parts
from meshlib.adapters.trust import ClientTrust
from meshlib.observe.passthrough import Passthrough
from meshlib.observe.quiet import Quiet
from meshlib.policy.stall import StallMeter
from meshlib.runtime import AsyncRuntime, SyncRuntime
from meshlib.testing.arena import Arena
from meshlib.testing.attacks import bad, good
from meshlib.testing.evil import careless

NOBODY = Arena(0.0)
BAD = [each.name for each in bad(NOBODY) if "server" in each.by][::3]
"""Every third: the check is the same context's that all engines use."""
GOOD = [each.name for each in good(NOBODY) if "server" in each.by][:3]
SECRET = b"only for peer"


@pytest.fixture(scope="module")
def grpc_trust(ways):
    """What their connections are made with."""
    peers = ways.trust._peers
    return ClientTrust(ways.trust._credentials, peers, alpn=("h2",))


@pytest.fixture
def parts_at(grpc_trust, destination_of):
    """`parts_at(address)`: what a channel to `peer` at an address is made of."""

    def parts(address):
        to = destination_of(address)
        return Parts(lambda _: to, grpc_trust, grpc_trust, Passthrough(), Quiet())

    return parts


@pytest.fixture(params=[(), (("grpc.keepalive_time_ms", 60_000),)], ids=["direct", "pump"])
def options(request):
    """A channel without options, and one with what only grpcio understands."""
    return request.param


@pytest.fixture
def call_sync(parts_at, ways, options):
    """Call over a `grpc.Channel`."""

    def call(address):
        parts = parts_at(address)

        def over(service, engine):
            runtime = SyncRuntime(rng=random.Random(1), aside=ways.aside)
            return parts.stack(service, engine(parts), runtime, StallMeter())

        with open_sync(over, "peer", options, None, ()) as channel:
            return channel.unary_unary("/p.P/Secret")(SECRET, timeout=20)

    return call


@pytest.fixture
def call_aio(parts_at, ways, options):
    """Call over a `grpc.aio.Channel`."""

    def call(address):
        parts = parts_at(address)

        def over(service, engine):
            runtime = AsyncRuntime(rng=random.Random(1), aside=ways.engines["asyncio"][1])
            return parts.stack(service, engine(parts), runtime, StallMeter())

        async def main():
            async with open_aio(over, "peer", options, None, (), ()) as channel:
                return await channel.unary_unary("/p.P/Secret")(SECRET, timeout=20)

        return ways.loops["asyncio"].run(main())

    return call


@pytest.fixture(params=["call_sync", "call_aio"], ids=["sync", "aio"])
def call_grpc(request, options):
    """Each in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def leaves(arena):
    """What a server shows, by its name."""
    return {each.name: each.leaf for each in (*bad(arena), *good(arena))}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_server_hears_nothing(arena, evil, leaves, call_grpc, name):
    """Not one byte of HTTP/2 goes to a peer that is not who it should be."""
    evil.be(careless(arena, leaves[name], server_side=True))
    with pytest.raises(grpc.RpcError) as caught:
        call_grpc(evil.address)
    assert grpc.StatusCode.UNAVAILABLE is caught.value.code()
    assert b"" == evil.heard().data


@pytest.mark.parametrize("name", GOOD)
def test_a_good_server_hears_http2(arena, evil, leaves, call_grpc, name):
    """The control group: who refuses everybody is no better."""
    evil.be(careless(arena, leaves[name], server_side=True))
    with pytest.raises(grpc.RpcError):  # it does not speak HTTP/2, though
        call_grpc(evil.address)
    assert evil.heard().data.startswith(b"PRI * HTTP/2.0")
