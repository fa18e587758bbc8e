"""`mesh.grpc_channel` as programs have it: whole meshes at both ends."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import grpc
import pytest

from meshlib import HedgeConfig, Mesh, UpstreamConfig
from meshlib.serve.options import DrainConfig

PATIENCE = 20.0
METHOD = "/t.T/Play"


class Replica:
    """One of the service's instances."""

    def __init__(self):
        self.slow, self.gone = False, threading.Event()

    def play(self, request, context):
        ended = threading.Event()
        if self.slow and context.add_callback(ended.set):
            ended.wait(PATIENCE)
            self.gone.set()
        return b"slow" if self.slow else b"well"


@pytest.fixture
def replicas(home):
    """Two instances of `shop`."""
    with ExitStack() as running:
        made = []
        for _ in range(2):
            replica, mesh = Replica(), running.enter_context(Mesh("shop"))
            server = mesh.grpc_server(ThreadPoolExecutor(4), drain=DrainConfig(lame_duck=0))
            handler = grpc.unary_unary_rpc_method_handler(replica.play)
            server.add_registered_method_handlers("t.T", {"Play": handler})
            server.start()
            running.callback(lambda server=server: server.stop(0).wait(PATIENCE))
            made.append(replica)
        yield made


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
def test_threads_hedge(replicas, compression):
    """A slow instance costs a caller the usual time and an attempt, however it is spoken to."""
    hedge = HedgeConfig(enabled=True, share=0.05, least=0.2)
    config = UpstreamConfig(balancer="round_robin", hedge=hedge)
    with (
        Mesh("front", upstreams={"shop": config}) as mesh,
        mesh.grpc_channel("shop", idempotent={METHOD}) as channel,
    ):
        play = channel.unary_unary(METHOD)
        for _ in range(120):
            play(b"", compression=compression)
        replicas[0].slow = True
        answers = [play(b"", compression=compression, timeout=PATIENCE) for _ in range(2)]
    assert [b"well"] * 2 == answers
    assert replicas[0].gone.wait(PATIENCE)


def test_channels_end_with_their_mesh(replicas):
    """Calls under way are cancelled, others are refused, and nothing stays open."""
    replicas[0].slow = replicas[1].slow = True
    mesh = Mesh("front")
    first, second = mesh.grpc_channel("shop"), mesh.grpc_channel("shop")
    heard = []
    second.subscribe(heard.append)
    waiting = first.unary_unary(METHOD).future(b"")
    mesh.close()
    assert grpc.StatusCode.CANCELLED == waiting.exception(PATIENCE).code()
    for channel in first, second, mesh.grpc_channel("shop"):
        with pytest.raises(ValueError, match="Channel closed"):
            channel.unary_unary(METHOD)(b"")
    assert [grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.SHUTDOWN] == heard
