"""
Ends the work on a request whose client has gone.

ASGI servers tell an application of it only when it asks, and most never do.  `CancelWhenGone` asks
in its place and cancels the handler's task.  The calls that it waits for are cancelled with it,
their connections close, and the servers at the other end learn of it in the same way: the whole
tree of calls ends.

It never reads ahead of the application: the server is asked once the application has received the
last of the body, or at once if the request has none.  A handler must be able to bear cancellation
at any `await`, as under any server of Starlette's streaming responses; so it is chosen, by
`cancel_abandoned`, and not the default.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


class CancelWhenGone:
    """An ASGI application whose http requests end with their clients."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application in this task, and cancel it from another one."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        channel = _Channel(receive, send)
        if not _has_body(scope):
            channel.listen()
        try:
            await self._app(scope, channel.receive, channel.send)
        except asyncio.CancelledError:
            if not channel.cancelled():
                raise
        finally:
            await channel.close()


class _Channel:
    """The two channels of one request."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - made in a coroutine
        self._handler = task
        self._listener: asyncio.Task[None] | None = None
        self._heard: asyncio.Queue[Message] = asyncio.Queue()
        self._answered = False
        self._cancelled = False

    def listen(self) -> None:
        """From now on the server is asked from another task."""
        if self._listener is None:
            self._listener = asyncio.get_running_loop().create_task(self._listen())

    def cancelled(self) -> bool:
        """Whether the handler's cancellation is ours, and nobody else's besides."""
        return self._cancelled and self._handler.uncancel() == 0

    async def close(self) -> None:
        """Stop asking."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.wait([self._listener])

    async def receive(self) -> Message:
        """What the application asks for."""
        if self._listener is not None:
            message = await self._heard.get()
            if message["type"] == "http.disconnect":
                self._heard.put_nowait(message)  # it stays true
            return message
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self.listen()
        return message

    async def send(self, message: Message) -> None:
        """What the application answers."""
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        self._answered = self._answered or last
        await self._send(message)

    async def _listen(self) -> None:
        while True:
            message = await self._receive()
            self._heard.put_nowait(message)
            if message["type"] == "http.disconnect":
                break
        if not self._answered:  # what a handler does after its answer is no longer for the client
            self._cancelled = True
            self._handler.cancel()


def _has_body(scope: Scope) -> bool:
    for name, value in scope["headers"]:
        if name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
            return True
    return False
