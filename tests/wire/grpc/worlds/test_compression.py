"""What is compressed is small on the wire, and what it was at both ends."""

from __future__ import annotations

import asyncio
import socket
import threading

import grpc
import pytest

PATIENCE = 20.0
LARGE = b"0123456789" * 100_000
SMALL = len(LARGE) / 10


class Counting:
    """Passes bytes on to a port, and counts them: `up` those to the server, `down` the others."""

    def __init__(self, port):
        self._to, self.up, self.down = port, 0, 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._to), PATIENCE)
            for source, sink, count in ((near, far, "up"), (far, near, "down")):
                pumping = (source, sink, count)
                threading.Thread(target=self._pump, args=pumping, daemon=True).start()

    def _pump(self, source, sink, count):
        try:
            while data := source.recv(65536):
                setattr(self, count, getattr(self, count) + len(data))
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for each in (source, sink):
                each.close()

    def close(self):
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@pytest.fixture
def between(server):
    """What counts the bytes before the server."""
    counting = Counting(server.endpoint.port)
    yield counting
    counting.close()


@pytest.mark.parametrize("how", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_a_channel_compresses(world, between, server, how):
    """Every request of it; the server answers in kind, or not."""
    with world.open(compression=how, port=between.port) as channel:
        assert LARGE == channel.unary_unary("/t.T/Echo")(LARGE)
        assert LARGE + b"+" + LARGE == channel.stream_unary("/t.T/Join")(iter([LARGE, LARGE]))
    assert between.up < SMALL


def test_a_call_compresses(world, between):
    """One call of a channel that does not."""
    with world.open(port=between.port) as channel:
        echo = channel.unary_unary("/t.T/Echo")
        for ask in (echo, lambda *said, **how: echo.future(*said, **how).result(PATIENCE)):
            assert LARGE == ask(LARGE, compression=grpc.Compression.Gzip)
            assert between.up < SMALL
        assert LARGE == echo(LARGE)
    assert between.up > len(LARGE)


def test_a_call_that_would_not_compress(world, between):
    """To grpcio "no compression" is no wish: the channel's own holds."""
    with world.open(compression=grpc.Compression.Gzip, port=between.port) as channel:
        asked = grpc.Compression.NoCompression
        assert LARGE == channel.unary_unary("/t.T/Echo")(LARGE, compression=asked)
    assert between.up < SMALL


def test_a_server_compresses(world, between, server):
    """What it compressed is the message, of one answer or of many."""

    def answer(request, context):
        context.set_compression(grpc.Compression.Gzip)
        return LARGE

    server.answer = answer
    with world.open(port=between.port) as channel:
        assert LARGE == channel.unary_unary("/t.T/Play")(b"")
    assert between.down < SMALL


def test_a_bomb(world, server):
    """What a message is when it is whole is what its limit holds for."""

    def answer(request, context):
        context.set_compression(grpc.Compression.Gzip)
        return bytes(64 * 1024 * 1024)

    server.answer = answer
    with world.open() as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/t.T/Play")(b"")
    assert grpc.StatusCode.RESOURCE_EXHAUSTED is caught.value.code()


def test_a_call_compresses_in_a_loop(world, between):
    """The asynchronous channel does the same."""

    async def main():
        async with world.open_aio(port=between.port) as channel:
            echo = channel.unary_unary("/t.T/Echo")
            return await echo(LARGE, compression=grpc.Compression.Gzip)

    assert LARGE == asyncio.run(main())
    assert between.up < SMALL


def test_a_channel_compresses_in_a_loop(world, between):
    """Every request of it."""

    async def main():
        how = grpc.Compression.Gzip
        async with world.open_aio(compression=how, port=between.port) as channel:
            return await channel.unary_unary("/t.T/Echo")(LARGE)

    assert LARGE == asyncio.run(main())
    assert between.up < SMALL
