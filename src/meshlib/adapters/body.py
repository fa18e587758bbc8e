"""
Request bodies that can be sent again.

Bytes the user already holds can be sent any number of times.  A stream is recorded while it is
sent, up to 64 KiB (Linkerd's limit): as long as all that was sent is recorded, a new attempt sends
the recording and then goes on with the stream; beyond that the body cannot be replayed and the
call is not retried.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator

REPLAY_LIMIT = 64 * 1024


class BytesBody:
    """A body that is all there."""

    __slots__ = ("content",)

    replayable = True
    whole = True
    failure: BaseException | None = None

    def __init__(self, content: bytes) -> None:
        self.content = content


class _Recorded:
    """What was sent so far, while it is little enough to keep."""

    __slots__ = ("_kept", "_size", "_spilled", "failure")

    whole = False

    def __init__(self) -> None:
        self._kept: list[bytes] = []
        self._size = 0
        self._spilled = False
        self.failure: BaseException | None = None
        """What the user's own stream raised."""

    @property
    def replayable(self) -> bool:
        """Whether everything sent so far can be sent again."""
        return not self._spilled and self.failure is None

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > REPLAY_LIMIT:
            self._spilled = True
            self._kept.clear()
        else:
            self._kept.append(part)

    def _recording(self) -> tuple[bytes, ...]:
        if not self.replayable:
            message = "this body was sent in part and is too large to be sent again"
            raise RuntimeError(message)
        return tuple(self._kept)


class StreamBody(_Recorded):
    """A body that comes from an iterable; iterate it anew for every attempt."""

    __slots__ = ("_source",)

    def __init__(self, source: Iterable[bytes]) -> None:
        super().__init__()
        self._source = iter(source)

    def __iter__(self) -> Iterator[bytes]:
        yield from self._recording()
        while True:
            try:
                part = next(self._source)
            except StopIteration:
                return
            except BaseException as exc:
                self.failure = exc
                raise
            self._keep(part)
            yield part


class AsyncStreamBody(_Recorded):
    """The same, from an asynchronous iterable."""

    __slots__ = ("_source",)

    def __init__(self, source: AsyncIterable[bytes]) -> None:
        super().__init__()
        self._source = aiter(source)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._recording():
            yield part
        while True:
            try:
                part = await anext(self._source)
            except StopAsyncIteration:
                return
            except Exception as exc:
                self.failure = exc
                raise
            self._keep(part)
            yield part
