"""What the pump reads of HTTP/2: whether the peer said goodbye."""

from __future__ import annotations

HEAD = 9
"""Bytes of a frame's header: a length of three, a type, flags, a stream (RFC 9113 section 4.1)."""
GOAWAY = 7


class Frames:
    """Walks over the frames that a server sends, in whatever pieces they come."""

    __slots__ = ("_head", "_skip", "goodbye")

    def __init__(self) -> None:
        self._head, self._skip = bytearray(), 0
        self.goodbye = False
        """Whether a GOAWAY has come: the server takes no more calls on this connection."""

    def feed(self, data: memoryview) -> None:
        """Look at the next piece."""
        at, size = self._skip, len(data)
        while at < size:
            part = data[at : at + HEAD - len(self._head)]
            self._head += part
            at += len(part)
            if len(self._head) == HEAD:
                at += int.from_bytes(self._head[:3])
                self.goodbye |= self._head[3] == GOAWAY
                self._head.clear()
        self._skip = at - size
