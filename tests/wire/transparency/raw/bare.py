"""An ASGI application without any framework: it tells what it is given, and does what it is asked.

Which of its answers a request gets is the first part of the path; `/` and all others echo.
"""

from __future__ import annotations

import asyncio
import json
import queue
from collections import defaultdict


class Bare:
    """The application, and what it has to tell."""

    def __init__(self):
        self.seen = queue.Queue()
        """What has happened, for the test to wait on."""
        self.ends = defaultdict(queue.Queue)
        """Code and reason of the end of a websocket, by its query."""
        self.go = asyncio.Event()
        """What an answer may wait for; set by `/go`."""

    async def __call__(self, scope, receive, send):
        """Answer."""
        if scope["type"] == "lifespan":
            return await lifespan(scope, receive, send)
        name = scope["path"].partition("/")[2].partition("/")[0].replace("-", "_")
        if scope["type"] == "websocket":
            return await self.talk(name, scope, receive, send)
        return await getattr(self, f"do_{name}", self.echo)(scope, receive, send)

    async def echo(self, scope, receive, send):
        """All that arrived."""
        body = await whole(receive)
        told = {
            key: scope.get(key)
            for key in ("type", "method", "path", "root_path", "http_version", "asgi", "scheme")
        }
        told["raw_path"] = scope["raw_path"].decode("latin-1")
        told["query"] = scope["query_string"].decode("latin-1")
        told["headers"] = [[n.decode("latin-1"), v.decode("latin-1")] for n, v in scope["headers"]]
        told["body"] = body.decode("latin-1")
        told["extensions"] = sorted(scope.get("extensions") or ())
        await answer(send, json.dumps(told).encode())

    async def talk(self, name, scope, receive, send):
        """A websocket: `/refuse`, `/deny`, `/fails`, `/close/CODE`; or echo."""
        assert (await receive())["type"] == "websocket.connect"
        if name == "refuse":
            return await send({"type": "websocket.close", "code": 4001, "reason": "no"})
        if name == "deny":
            return await deny(send)
        if name == "fails":
            message = "on purpose"
            raise RuntimeError(message)
        offered = scope["subprotocols"]
        accept = {"subprotocol": offered[-1] if offered else None, "headers": [(b"X-Hi", b"yes")]}
        await send({"type": "websocket.accept", **accept})
        if name == "close":
            code = int(scope["path"].rpartition("/")[2])
            await send({"type": "websocket.close", "code": code, "reason": "as said"})
        while (message := await receive())["type"] == "websocket.receive":
            if message.get("text") == "break":
                message = "on purpose"
                raise RuntimeError(message)
            await send({**message, "type": "websocket.send"})
        name = scope["query_string"].decode()
        self.ends[name].put([message["code"], message.get("reason")])
        return None

    async def do_scope(self, scope, receive, send):
        """What else there is, by name; the state of the mesh left out."""
        state = {k: v for k, v in scope["state"].items() if not k.startswith("mesh")}
        names = sorted(key for key in scope if key != "extensions")
        told = {"names": names, "state": state, "asgi": scope["asgi"]}
        extensions = scope.get("extensions") or {}
        told["extensions"] = {name: said for name, said in extensions.items() if name != "tls"}
        await answer(send, json.dumps(told).encode())

    async def do_ignores(self, scope, receive, send):
        """Read nothing until somebody asks for `/go`."""
        await self.go.wait()

    async def do_go(self, scope, receive, send):
        """Now."""
        self.go.set()
        await answer(send, b"gone")

    async def do_status(self, scope, receive, send):
        """`/status/CODE/LENGTH`: what has no body, and may say that it has one."""
        _, _, code, length = scope["path"].split("/")
        headers = [(b"content-length", length.encode())] if length else []
        await start(send, int(code), headers)
        await send({"type": "http.response.body", "body": b""})

    async def do_chunks(self, scope, receive, send):
        """No length."""
        await start(send, 200, [(b"X-Part-Of", b"chunks")])
        for part in (b"one", b"", b"two"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})

    async def do_odd(self, scope, receive, send):
        """Headers in mixed case, repeated, empty, not ASCII, very long."""
        headers = [
            (b"X-Zebra", b"Kept"),
            (b"set-cookie", b"a=1; Path=/; Expires=Wed, 21 Oct 2015 07:28:00 GMT"),
            (b"x-between", b"a  b"),
            (b"Set-Cookie", b"b=2"),
            (b"x-empty", b""),
            (b"x-latin", b"caf\xe9"),
            (b"x-long", b"l" * 20_000),
            (b"WWW-Authenticate", b"Basic, Bearer"),
            (b"www-authenticate", b"Digest"),
            (b"content-encoding", b"br"),
            (b"content-length", b"3"),
        ]
        await start(send, 200, headers)
        await send({"type": "http.response.body", "body": b"odd"})

    async def do_fails(self, scope, receive, send):
        """`/fails/before`, `/fails/after` the headers, or `/fails/within` the body; or never."""
        when = scope["path"].rpartition("/")[2]
        if when != "before":
            await start(send, 200, [])
        if when == "within":
            await send({"type": "http.response.body", "body": b"x" * 99, "more_body": True})
        if when != "never":
            message = "on purpose"
            raise RuntimeError(message)

    async def do_short(self, scope, receive, send):
        """Less than it said."""
        await start(send, 200, [(b"content-length", b"10")])
        await send({"type": "http.response.body", "body": b"short"})

    async def do_early(self, scope, receive, send):
        """Refuse without a look at the body, and close."""
        await start(send, 413, [(b"content-length", b"5"), (b"connection", b"close")])
        await send({"type": "http.response.body", "body": b"large"})

    async def do_hints(self, scope, receive, send):
        """103, as far as the server knows of it."""
        if "http.response.early_hint" in (scope.get("extensions") or {}):
            await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
        await answer(send, b"hinted")

    async def do_trailers(self, scope, receive, send):
        """Trailers, as far as the server knows of them."""
        known = "http.response.trailers" in (scope.get("extensions") or {})
        await start(send, 200, [(b"trailer", b"x-sum")], trailers=known)
        await send({"type": "http.response.body", "body": b"body"})
        if known:
            await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"4")]})

    async def do_parts(self, scope, receive, send):
        """Answer each part that arrives before the next is there."""
        await start(send, 200, [])
        more = True
        while more:
            message = await receive()
            more = message.get("more_body", False)
            told = {"type": "http.response.body", "body": message["body"], "more_body": True}
            await send(told)
        await send({"type": "http.response.body"})

    async def do_tells(self, scope, receive, send):
        """Tell the test of each part, and answer with how much it was."""
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.seen.put("disconnect")
                return
            size, more = size + len(message["body"]), message.get("more_body", False)
            self.seen.put(size)
        await answer(send, str(size).encode())

    async def do_endless(self, scope, receive, send):
        """Send until the client goes away."""
        gone = asyncio.create_task(until_gone(receive))
        await start(send, 200, [])
        while not gone.done():
            await send({"type": "http.response.body", "body": b"e" * 65536, "more_body": True})
            self.seen.put(65536)
            await asyncio.sleep(0)
        self.seen.put((await gone)["type"])

    async def do_waits(self, scope, receive, send):
        """Wait for the client to go."""
        await whole(receive)
        self.seen.put("waits")
        self.seen.put((await until_gone(receive))["type"])

    async def do_after(self, scope, receive, send):
        """Go on when the answer is complete."""
        await answer(send, b"answered")
        self.seen.put((await until_gone(receive))["type"] if "gone" in scope["path"] else "after")


async def deny(send):
    """Refuse a websocket with an answer of one's own."""
    headers = [(b"X-Why", b"because"), (b"content-length", b"6")]
    start_of = {"type": "websocket.http.response.start", "status": 401, "headers": headers}
    await send(start_of)
    await send({"type": "websocket.http.response.body", "body": b"denied"})


async def until_gone(receive):
    """The message that says so."""
    while (message := await receive())["type"] != "http.disconnect":
        pass
    return message


async def lifespan(scope, receive, send):
    """Up and down."""
    scope["state"]["from"] = "lifespan"
    for _ in range(2):
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})


async def whole(receive):
    """The body of a request."""
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


async def start(send, status, headers, **more):
    """The head of an answer."""
    await send({"type": "http.response.start", "status": status, "headers": headers, **more})


async def answer(send, body):
    """An answer with its length."""
    await start(send, 200, [(b"content-length", str(len(body)).encode())])
    await send({"type": "http.response.body", "body": body})
