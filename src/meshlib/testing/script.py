"""An engine that follows a script: what each attempt shall meet, in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from meshlib.errors import ConnectFailed, Interrupted
from meshlib.model import NO_HEADERS, Attempt, Endpoint, Reply

Line: TypeAlias = int | BaseException | Reply | Callable[[Attempt], "int | BaseException | Reply"]
"""A status, an error to raise, a reply, or a function of the attempt that gives one of these."""


class Script:
    """An `AttemptService`; remembers the attempts it was asked for.

    With `for_ever` the last line is repeated; otherwise an attempt beyond the script fails the
    test that wrote it.
    """

    def __init__(self, *lines: Line, for_ever: bool = False) -> None:
        self._lines = list(lines)
        self._for_ever = for_ever
        self.attempts: list[Attempt] = []

    async def __call__(self, attempt: Attempt) -> Reply:
        """Play the next line."""
        self.attempts.append(attempt)
        line = self._next()
        if callable(line):
            line = line(attempt)
        if isinstance(line, BaseException):
            raise line
        return Reply(line) if isinstance(line, int) else line

    def _next(self) -> Line:
        if not self._lines:
            message = f"the script has no line for attempt {len(self.attempts)}"
            raise AssertionError(message)
        if self._for_ever and len(self._lines) == 1:
            return self._lines[0]
        return self._lines.pop(0)

    @property
    def endpoints(self) -> list[Endpoint | None]:
        """Where the attempts went."""
        return [attempt.endpoint for attempt in self.attempts]


class StreamedReply(Reply):
    """A reply whose body has not been read; counts how often it was discarded."""

    __slots__ = ("discarded",)

    def __init__(self, status: int, headers: Mapping[str, str] = NO_HEADERS) -> None:
        super().__init__(status, headers, content=None)
        self.discarded = 0

    async def discard(self) -> None:
        """Count, and close."""
        self.discarded += 1
        self.close()


def refused() -> ConnectFailed:
    """A connection that was refused."""
    return ConnectFailed("connection refused")


def reset() -> Interrupted:
    """A connection that broke after the request was sent."""
    return Interrupted("connection reset by peer")


def endpoints(*ports: int, host: str = "127.0.0.1", **meta: str) -> tuple[Endpoint, ...]:
    """Endpoints that differ in their port."""
    return tuple(Endpoint(f"i-{port}", host, port, meta=meta) for port in ports)
