"""A leaf that has expired and could not be renewed: what a call is told."""

import asyncio
import socket
from contextlib import closing
from dataclasses import dataclass

import pytest

from meshlib.adapters.engine_async import AsyncEngine
from meshlib.adapters.engine_sync import SyncEngine
from meshlib.control.local.ca import LEAF_TTL
from meshlib.control.local.identity import LocalIdentity
from meshlib.errors import ConnectFailed, IdentityUnavailable
from meshlib.model import Attempt, Call, Endpoint, Target
from meshlib.runtime import real_clock, run_sync
from meshlib.trust.tls import MeshContext, member_of

START = 1_800_000_000.0


@dataclass
class Clock:
    now: float = START

    def __call__(self):
        return self.now


class Middle:
    def random(self):
        return 0.5

    def randrange(self, stop):
        return stop // 2


@pytest.fixture
def trust(tmp_path):
    """What an engine trusts, after the CA's folder was lost for longer than a leaf lives."""
    clock = Clock()
    identity = LocalIdentity(tmp_path / "ca", "example.org", now=clock, rng=Middle(), poll=3600.0)
    watch = identity.credentials("web")
    (tmp_path / "ca").rename(tmp_path / "lost")
    clock.now += LEAF_TTL + 5
    with pytest.raises(IdentityUnavailable):
        identity.renew_due()
    context = MeshContext(watch, server_side=False, authorize=member_of("example.org"), clock=clock)
    yield lambda _: (context, watch.value.generation)
    identity.close()


def in_a_thread(trust, attempt):
    engine = SyncEngine(trust, clock=real_clock, idle=20.0)
    try:
        return run_sync(engine(attempt))
    finally:
        engine.close()


def in_a_loop(trust, attempt):
    async def call():
        engine = AsyncEngine(trust, clock=real_clock, idle=20.0)
        try:
            return await engine(attempt)
        finally:
            await engine.close()

    return asyncio.run(call())


@pytest.mark.parametrize("engine", [in_a_thread, in_a_loop])
def test_a_call_says_why_its_own_certificate_is_of_no_use(trust, engine):
    """The error names the expiry, why nothing was renewed, and what to do; nothing was sent."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        endpoint = Endpoint("db", *listener.getsockname())
        call = Call("db", target=Target("db"))
        with pytest.raises(ConnectFailed) as caught:
            engine(trust, Attempt(call, endpoint=endpoint, connect_timeout=10.0))
    why = caught.value.why
    assert "svc/web, expired 5 s ago and was not renewed: the CA in" in why
    assert "state.json is gone" in why
    assert caught.value.hint.startswith("restore the folder")
    assert not caught.value.sent
