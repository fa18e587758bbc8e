"""The messages of a request stream, recorded while they may have to be sent again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from meshlib.adapters.body import REPLAY_LIMIT
from meshlib.adapters.grpc.rpc import Shape


class SyncFeed:
    """A body of many messages; iterate it anew for every attempt.

    grpcio reads from a thread of its own, and that of an attempt that is over may still wait for
    the user's next message: it is recorded then, and the attempt that follows has it.
    """

    whole = False

    def __init__(
        self,
        source: Iterable[Any],
        serialize: Callable[[Any], bytes],
        shape: Shape,
        wishes: dict[str, Any],
        handle: Any,
    ) -> None:
        self._source, self._serialize = iter(source), serialize
        self.shape, self.wishes, self.handle = shape, wishes, handle
        self.failure: BaseException | None = None
        """What the user's own iterator raised."""
        self._lock = threading.Lock()
        self._kept: list[bytes] = []
        self._gone = self._size = 0

    @property
    def replayable(self) -> bool:
        """Whether everything that was read can be sent again."""
        return not self._gone and self.failure is None

    def commit(self) -> None:
        """Keep nothing from now on: the call is not tried again."""
        self._size = REPLAY_LIMIT + 1

    def __iter__(self) -> Iterator[bytes]:
        index = 0
        while (message := self._at(index)) is not None:
            index += 1
            yield message

    def _at(self, index: int) -> bytes | None:
        with self._lock:
            if index < self._gone:
                return None
            if index - self._gone < len(self._kept):
                return self._kept[index - self._gone]
            return self._pulled()

    def _pulled(self) -> bytes | None:
        try:
            message = self._serialize(next(self._source))
        except StopIteration:
            return None
        except BaseException as exc:
            self.failure = exc
            raise
        self._kept.append(message)
        self._size += len(message)
        if self._size > REPLAY_LIMIT:
            self._gone += len(self._kept)
            self._kept.clear()
        return message
