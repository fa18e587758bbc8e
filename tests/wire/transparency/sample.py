"""An ASGI application as one might find it: it has never heard of the mesh."""

from __future__ import annotations

import asyncio
import gzip
import hashlib

from starlette.applications import Starlette
from starlette.responses import (
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route, WebSocketRoute

PARTS = [bytes([65 + n]) * 10_000 for n in range(20)]
ENDLESS = b"e" * 65536


class Sample:
    """The application, and what a test may ask of it."""

    def __init__(self):
        self.reset()
        self.app = Starlette(routes=[*self.routes()])

    def reset(self):
        self.gone, self.sent = asyncio.Event(), 0

    def routes(self):
        """One a question."""
        every = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
        yield Route("/plain", plain)
        yield Route("/odd-headers", odd_headers)
        yield Route("/status/{code:int}", status, methods=every)
        yield Route("/streamed", streamed)
        yield Route("/download/{size:int}", download)
        yield Route("/upload", upload, methods=["POST", "PUT"])
        yield Route("/cookies", cookies)
        yield Route("/redirect/{code:int}", redirect, methods=every)
        yield Route("/gzip", compressed)
        yield Route("/broken", broken)
        yield Mount("/endless", self.endless)
        yield Route("/gone", self.was_gone)
        yield Route("/peer-port", peer_port)
        yield Route("/expect", upload, methods=["POST"])
        yield WebSocketRoute("/chat", chat)
        yield Route("/{rest:path}", echo, methods=every)

    async def endless(self, scope, receive, send):
        """Send until the client goes away."""

        async def listen():
            while (await receive())["type"] != "http.disconnect":
                pass
            self.gone.set()

        listening = asyncio.create_task(listen())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not self.gone.is_set():
            await send({"type": "http.response.body", "body": ENDLESS, "more_body": True})
            self.sent += len(ENDLESS)
            await asyncio.sleep(0)
        await listening

    async def was_gone(self, request):
        """Wait until the endless answer was left."""
        await self.gone.wait()
        return PlainTextResponse("gone")


async def echo(request):
    """All that arrived."""
    scope = request.scope
    body = await request.body()
    headers = [[n.decode("latin-1"), v.decode("latin-1")] for n, v in scope["headers"]]
    return JSONResponse(
        {
            "method": request.method,
            "path": scope["raw_path"].decode("latin-1"),
            "decoded": scope["path"],
            "query": scope["query_string"].decode("latin-1"),
            "headers": headers,
            "body": body.decode("latin-1"),
            "version": scope["http_version"],
        }
    )


async def plain(request):
    return PlainTextResponse("plain")


async def streamed(request):
    async def parts():
        for part in PARTS:
            yield part

    return StreamingResponse(parts())


async def peer_port(request):
    return PlainTextResponse(str(request.client.port))


async def status(request):
    await request.body()
    return Response(status_code=request.path_params["code"])


async def odd_headers(request):
    """Mixed case, repeated, empty and not ASCII."""
    response = PlainTextResponse("odd")
    response.raw_headers += [
        (b"X-Mixed-Case", b"Kept"),
        (b"x-twice", b"one"),
        (b"x-between", b"here"),
        (b"x-twice", b"two"),
        (b"x-empty", b""),
        (b"x-latin", b"caf\xe9"),
        (b"x-spaces", b"a  b"),
        (b"set-cookie", b"a=1; Path=/"),
        (b"set-cookie", b"b=2; Path=/"),
    ]
    return response


async def download(request):
    return Response(b"d" * request.path_params["size"])


async def upload(request):
    """How much came, and what."""
    digest, size, chunks = hashlib.sha256(), 0, 0
    async for part in request.stream():
        digest.update(part)
        size += len(part)
        chunks += bool(part)
    framing = "length" if "content-length" in request.headers else "chunked"
    return JSONResponse([size, digest.hexdigest(), framing])


async def cookies(request):
    """Those that came; and two more."""
    response = JSONResponse(dict(request.cookies))
    response.set_cookie("taste", "sweet", httponly=True)
    response.set_cookie("place", "other", path="/elsewhere")
    return response


async def redirect(request):
    return RedirectResponse(request.query_params["to"], request.path_params["code"])


async def compressed(request):
    body = gzip.compress(b"squeeze me " * 5000, mtime=0)
    return Response(body, headers={"content-encoding": "gzip", "vary": "accept-encoding"})


async def broken(request):
    """End in the midst of the answer."""

    async def parts():
        yield b"x" * 100_000
        message = "on purpose"
        raise RuntimeError(message)

    return StreamingResponse(parts())


async def chat(websocket):
    await websocket.accept()
    await websocket.send_text(await websocket.receive_text())
    await websocket.close(4000)
