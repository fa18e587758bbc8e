"""The messages of a request stream of asyncio, recorded while they may have to be sent again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from typing import Any

from meshlib.adapters.body import REPLAY_LIMIT
from meshlib.adapters.grpc.rpc import Shape

_END = object()


class AioFeed:
    """A body of many messages; iterate it anew for every attempt.

    The user's iterator is asked by a task of its own: an attempt that is cancelled while it waits
    for a message must neither lose that message nor cancel the iterator.
    """

    whole = False

    def __init__(
        self,
        source: AsyncIterable[Any] | Iterable[Any],
        serialize: Callable[[Any], bytes],
        shape: Shape,
        wishes: dict[str, Any],
        handle: Any,
    ) -> None:
        self._source, self._serialize = _asynchronous(source), serialize
        self.shape, self.wishes, self.handle = shape, wishes, handle
        self.failure: BaseException | None = None
        """What the user's own iterator raised."""
        self._pulling: asyncio.Task[Any] | None = None
        self._kept: list[bytes] = []
        self._gone = self._size = 0

    @property
    def replayable(self) -> bool:
        """Whether everything that was read can be sent again."""
        return not self._gone and self.failure is None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        index = 0
        while True:
            while index - self._gone < len(self._kept):
                yield self._kept[max(index - self._gone, 0)]
                index += 1
            message = await self._pulled()
            if message is _END:
                return
            if self._gone:
                yield message
                index = self._gone

    async def _pulled(self) -> Any:
        """The next message, which is kept if that is allowed."""
        if self._pulling is None or self._pulling.done():
            self._pulling = asyncio.ensure_future(self._pull())
        return await asyncio.shield(self._pulling)

    async def _pull(self) -> Any:
        try:
            message = self._serialize(await anext(self._source))
        except StopAsyncIteration:
            return _END
        except Exception as exc:
            self.failure = exc
            raise
        self._kept.append(message)
        self._size += len(message)
        if self._size > REPLAY_LIMIT:
            self._gone += len(self._kept)
            self._kept.clear()
        return message


class Mailbox:
    """What `write` and `done_writing` put into a request stream; a message waits for its taker."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Any] = asyncio.Queue(1)
        self._done = False

    async def put(self, message: Any) -> None:
        """Write; waits until the message before was taken.

        Raises InvalidStateError after the end, in grpcio's words.
        """
        if self._done:
            raise asyncio.InvalidStateError('RPC is half closed after calling "done_writing".')
        await self._queue.put(message)

    async def end(self) -> None:
        """Write no more."""
        if not self._done:
            self._done = True
            await self._queue.put(_END)

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (message := await self._queue.get()) is not _END:
            yield message


async def _asynchronous(source: AsyncIterable[Any] | Iterable[Any]) -> AsyncIterator[Any]:
    if isinstance(source, AsyncIterable):
        async for message in source:
            yield message
    else:
        for message in source:
            yield message
