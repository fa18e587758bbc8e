"""
How long a request body is, against what its request says.

The engines would send a body that is not as long as its Content-Length says, and the peer would
read the rest of it as the next request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator


class Length:
    """Measures one body; `lie` makes the face's own exception of what was found."""

    __slots__ = ("_lie", "_said", "_size")

    def __init__(self, said: str | None, lie: Callable[[str], Exception]) -> None:
        self._said, self._lie, self._size = said, lie, 0
        if said is not None and not (said.isascii() and said.isdecimal()):
            raise self._broken("no number")

    def add(self, size: int) -> None:
        """So many bytes more.  Raises the face's exception if they are too many."""
        self._size += size
        if self._said is not None and self._size > int(self._said):
            raise self._broken(f"a body of {self._size} bytes or more")

    def end(self) -> None:
        """That was all.  Raises the face's exception if it is too little."""
        if self._said is not None and self._size != int(self._said):
            raise self._broken(f"a body of {self._size} bytes")

    def measured(self, parts: Iterable[bytes]) -> Iterator[bytes]:
        """The parts, each counted when it is asked for."""
        for part in parts:
            self.add(len(part))
            yield part
        self.end()

    def _broken(self, what: str) -> Exception:
        return self._lie(f"Content-Length: {self._said!r} is sent with {what}")
