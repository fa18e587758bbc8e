"""
Between hypercorn's protocols and the application: a queue that is never in the way of the end.

hypercorn's own queue holds ten messages, and whoever puts an eleventh waits for the application,
even when the application has answered and will never look again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from meshlib.serve.asgi import ASGIApp, Message, Scope

if TYPE_CHECKING:
    from hypercorn.asyncio.task_group import TaskGroup
    from hypercorn.config import Config

_LAST = frozenset({"http.disconnect", "websocket.disconnect"})


class Inbox:
    """What an application is to receive.  Called, it takes a message, and waits for room."""

    def __init__(self, room: float) -> None:
        self._room = room
        self._messages: deque[Message] = deque()
        self._changed = asyncio.Condition()
        self._over = False
        self.emptied: Callable[[], Awaitable[None]] | None = None
        """Called when the application has taken all there was."""

    @property
    def waiting(self) -> bool:
        """Whether there is something the application has not taken."""
        return bool(self._messages) and not self._over

    async def __call__(self, message: Message) -> None:
        """Put a message; after the last one there is no other."""
        async with self._changed:
            if message["type"] in _LAST:
                self._over = True
                self._messages.append(message)
            else:
                await self._changed.wait_for(self._has_room)
                if not self._over:
                    self._messages.append(message)
            self._changed.notify_all()

    async def take(self) -> Message:
        """The next message; the last one again and again."""
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._messages))
            message = self._messages[0]
            if message["type"] not in _LAST:
                self._messages.popleft()
            self._changed.notify_all()
        if not self._messages and self.emptied is not None:
            await self.emptied()
        return message

    async def close(self) -> None:
        """The application takes nothing any more."""
        async with self._changed:
            self._over = True
            self._changed.notify_all()

    def _has_room(self) -> bool:
        return self._over or len(self._messages) < self._room


class Apps:
    """hypercorn's task group, as its protocols use it."""

    def __init__(self, group: TaskGroup, room: float) -> None:
        self._group, self._room = group, room
        self.running = 0
        """Applications that have not ended, whether or not anybody still waits for them."""

    async def spawn_app(
        self,
        app: ASGIApp,
        config: Config,
        scope: Scope,
        send: Callable[[Any], Awaitable[None]],
    ) -> Inbox:
        """Run the application for one scope."""
        inbox = Inbox(self._room)
        self.running += 1
        self._group.spawn(self._run, app, config, scope, inbox, send)
        return inbox

    def spawn(self, func: Callable[..., Any], *args: Any) -> None:
        """Run something else."""
        self._group.spawn(func, *args)

    async def _run(
        self,
        app: ASGIApp,
        config: Config,
        scope: Scope,
        inbox: Inbox,
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        try:
            await app(scope, inbox.take, send)
        except Exception:  # noqa: BLE001 - of the application, which the server outlives
            await config.log.exception("Error in ASGI Framework")
        finally:
            self.running -= 1
            await inbox.close()
            await send(None)
