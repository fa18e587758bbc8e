"""Websockets through the mesh, by httpx-ws over httpx and by httpx2 itself."""

from __future__ import annotations

import asyncio
import contextlib

import aiohttp
import httpx
import httpx2
import httpx2.websockets
import httpx_ws
import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocketDisconnect

from meshlib import Mesh
from meshlib.testing.hosted import hosted


async def echo(websocket):
    """Greet the caller by its proven name, then send back whatever comes."""
    await websocket.accept(subprotocol="tea" if "tea" in websocket["subprotocols"] else None)
    await websocket.send_text(str(websocket.state.mesh_peer.service))
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("text") == "bye":
                await websocket.close(4001, "as you wish")
                return
            await websocket.send(
                {
                    "type": "websocket.send",
                    **{k: message[k] for k in ("text", "bytes") if k in message},
                }
            )


async def refuse(websocket):
    """Not for anybody."""
    await websocket.close()


ROUTES = [WebSocketRoute("/echo", echo), WebSocketRoute("/no", refuse)]


@pytest.fixture
def meshes(home):
    """A service that talks, and somebody to talk to it."""
    with Mesh("talk") as talk, Mesh("front") as front, hosted(talk, Starlette(routes=ROUTES)):
        yield front


def load_of(mesh):
    """How many exchanges the mesh thinks are under way."""
    return sum(state.pending for state in mesh._directory.upstream("talk").states())


def open_sync(mesh, module, path, **options):
    """A websocket of a synchronous client."""
    stack = contextlib.ExitStack()
    client = stack.enter_context(mesh.client(module=module))
    if module is httpx:
        return stack, stack.enter_context(
            httpx_ws.connect_ws(f"http://talk{path}", client, **options)
        )
    return stack, stack.enter_context(client.websocket(f"ws://talk{path}", **options))


async def open_async(mesh, module, path, **options):
    """The same of an asynchronous one."""
    stack = contextlib.AsyncExitStack()
    client = await stack.enter_async_context(mesh.async_client(module=module))
    if module is httpx:
        made = httpx_ws.aconnect_ws(f"ws://talk{path}", client, **options)
    else:
        made = client.websocket(f"ws://talk{path}", **options)
    return stack, await stack.enter_async_context(made)


@pytest.mark.parametrize("module", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_a_synchronous_websocket(meshes, module):
    """Text, large frames and pings pass; the server knows its caller; it counts as load."""
    big = bytes(range(256)) * 4 * 1024 * 3
    stack, ws = open_sync(meshes, module, "/echo", max_message_size_bytes=2**24)
    with stack:
        assert "front" == ws.receive_text()
        assert 1 == load_of(meshes)
        ws.send_text("ä")
        assert "ä" == ws.receive_text()
        ws.send_bytes(big)
        assert big == ws.receive_bytes()
        assert ws.ping().wait(20)
    assert 0 == load_of(meshes)


@pytest.mark.parametrize("module", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_an_asynchronous_websocket(meshes, module):
    """The same, in an event loop."""

    async def main():
        big = bytes(range(256)) * 4 * 1024 * 3
        stack, ws = await open_async(meshes, module, "/echo", max_message_size_bytes=2**24)
        async with stack:
            assert "front" == await ws.receive_text()
            assert 1 == load_of(meshes)
            await ws.send_text("ä")
            assert "ä" == await ws.receive_text()
            await ws.send_bytes(big)
            assert big == await ws.receive_bytes()
            await (await ws.ping()).wait()
        assert 0 == load_of(meshes)

    asyncio.run(main())


def _family(module):
    """The exceptions of a library's websockets."""
    return httpx_ws if module is httpx else httpx2.websockets


@pytest.mark.parametrize("module", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_the_server_closes(meshes, module):
    """Its code and reason reach the client; the subprotocol it chose too."""
    stack, ws = open_sync(meshes, module, "/echo", subprotocols=["coffee", "tea"])
    with stack:
        assert "tea" == ws.subprotocol
        assert "front" == ws.receive_text()
        ws.send_text("bye")
        with pytest.raises(_family(module).WebSocketDisconnect) as caught:
            ws.receive_text()
        assert (4001, "as you wish") == (caught.value.code, caught.value.reason)


@pytest.mark.parametrize("module", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_a_server_that_refuses(meshes, module):
    """A websocket that is not accepted is a 403, for sync clients."""
    with pytest.raises(_family(module).WebSocketUpgradeError) as caught:
        open_sync(meshes, module, "/no")
    assert 403 == caught.value.response.status_code
    assert 0 == load_of(meshes)


@pytest.mark.parametrize("module", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_a_server_that_refuses_a_loop(meshes, module):
    """The same for clients of a loop."""

    async def main():
        with pytest.raises(_family(module).WebSocketUpgradeError) as caught:
            await open_async(meshes, module, "/no")
        assert 403 == caught.value.response.status_code

    asyncio.run(main())


def test_a_websocket_of_aiohttp(meshes):
    """aiohttp's own: text, large frames, pings, compression, and the server's goodbye."""
    big = bytes(range(256)) * 4 * 1024 * 3

    async def main():
        async with meshes.aiohttp_session() as session:
            url, most = "http://talk/echo", 2**24
            async with session.ws_connect(url, max_msg_size=most, compress=15) as ws:
                assert "front" == await ws.receive_str()
                assert 1 == load_of(meshes)
                await ws.send_str("ä")
                assert "ä" == await ws.receive_str()
                await ws.send_bytes(big)
                assert big == await ws.receive_bytes()
                await ws.ping()
                await ws.send_str("bye")
                assert aiohttp.WSMsgType.CLOSE == (await ws.receive()).type
                assert 4001 == ws.close_code
            with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
                await session.ws_connect("ws://talk/no")
        assert 0 == load_of(meshes)

    asyncio.run(main())


def test_what_is_written_last_is_sent(meshes):
    """Whoever says goodbye itself has it heard."""

    async def main():
        async with (
            meshes.aiohttp_session() as session,
            session.ws_connect("http://talk/echo") as ws,
        ):
            await ws.receive_str()
            await ws.send_str("x" * 200_000)
            await ws.receive_str()
            await ws.close()
            assert 1000 == ws.close_code

    asyncio.run(main())
