"""
HTTP/2 as far as unary RPCs need it (RFC 9113), without a socket.

Bytes to send are taken from `out`, those that come are fed.  It never blocks: what a peer's windows
or its limit of streams hold back goes on when a later feed allows it.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable

from meshlib.adapters.grpc.direct.blocks import LARGEST_LIST, decoded
from meshlib.adapters.grpc.direct.errors import BrokenProtocol, Code, NeverTaken
from meshlib.adapters.grpc.direct.exchange import Exchange

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE = range(9)
CONTINUATION = 9
END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 1, 1, 4, 8, 32

WINDOW = 8 << 20
"""Bytes a server may send of one answer, and of all, before it is granted more."""
_DEFAULT_WINDOW, _FRAME = 65535, 16384
_LARGEST_WINDOW, _LAST_STREAM = 2**31 - 1, 2**31 - 1
_PATIENCE = 1000
"""Frames in a row that carry nothing of an answer before the peer is taken for an attacker."""

_HEAD = struct.Struct(">HBBBI")
"""A frame's head: its length (two bytes and one), type, flags and stream."""
_SETTING = struct.Struct(">HI")
_TABLE, _PUSH, _STREAMS, _WINDOW, _FRAME_SIZE, _LIST = range(1, 7)


def frame(kind: int, flags: int, stream: int, payload: bytes | memoryview = b"") -> bytes:
    """The bytes of a frame."""
    size = len(payload)
    return _HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


_OURS = ((_TABLE, 0), (_PUSH, 0), (_WINDOW, WINDOW), (_LIST, LARGEST_LIST))
_HELLO = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    + frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*each) for each in _OURS))
    + frame(WINDOW_UPDATE, 0, 0, (WINDOW - _DEFAULT_WINDOW).to_bytes(4))
)


class Connection:
    """See the module.  Not for several threads at once."""

    def __init__(self) -> None:
        self.out = bytearray(_HELLO)
        """What is to be sent."""
        self.goodbye = False
        """Whether it takes no more calls."""
        self.error: BaseException | None = None
        """What ended it."""
        self._streams: dict[int, Exchange] = {}
        self._queue: deque[Exchange] = deque()
        self._held: dict[Exchange, None] = {}
        self._next = 1
        self._most = _LARGEST_WINDOW
        self._window, self._stream_window = _DEFAULT_WINDOW, _DEFAULT_WINDOW
        self._frame_size = _FRAME
        self._taken = self._idle_frames = 0
        self._rest = b""
        self._block: tuple[int, int, bytes] | None = None
        self._on: dict[int, Callable[[int, int, bytes], None]] = {
            DATA: self._on_data,
            HEADERS: self._on_headers,
            RST_STREAM: self._on_reset,
            SETTINGS: self._on_settings,
            PUSH_PROMISE: self._on_push,
            PING: self._on_ping,
            GOAWAY: self._on_goodbye,
            WINDOW_UPDATE: self._on_window,
        }

    @property
    def quiet(self) -> bool:
        """Whether no call is under way."""
        return not (self._streams or self._queue)

    def begin(self, exchange: Exchange) -> None:
        """Send a call, as far as the peer lets us; one that was cancelled before is not sent."""
        if exchange.done:
            return
        if len(self._streams) < self._most and not self._queue:
            self._send(exchange)
        else:
            self._queue.append(exchange)

    def cancel(self, exchange: Exchange) -> None:
        """Want the answer no more, whether it was begun or not."""
        if exchange.done:
            return
        if exchange.stream:
            self._reset(exchange, Code.CANCEL)
        elif exchange in self._queue:
            self._queue.remove(exchange)
        exchange.done = True

    def feed(self, data: bytes) -> None:
        """Take what has come.  Raises BrokenProtocol, after which nothing else may be done."""
        data = self._rest + data if self._rest else data
        at, end = 0, len(data)
        while end - at >= 9:
            high, low, kind, flags, stream = _HEAD.unpack_from(data, at)
            size = high << 8 | low
            if size > _FRAME:
                raise BrokenProtocol(Code.FRAME_SIZE_ERROR, f"a frame of {size} bytes")
            if end - at < 9 + size:
                break
            self._take(kind, flags, stream & _LAST_STREAM, data[at + 9 : at + 9 + size])
            at += 9 + size
        self._rest = data[at:]

    def end(self, error: BaseException) -> None:
        """The connection is gone, and every call with it."""
        self.error, self.goodbye = error, True
        unsent, self._queue = self._queue, deque()
        for exchange in unsent:
            exchange.fail(NeverTaken(str(error)))
        streams, self._streams = self._streams, {}
        self._held.clear()
        for exchange in streams.values():
            exchange.fail(error)

    def farewell(self, code: Code) -> bytes:
        """The last word, to a peer that broke the protocol."""
        return frame(GOAWAY, 0, 0, bytes(4) + int(code).to_bytes(4))

    # ---- frames that come

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._block is not None:
            self._on_continuation(kind, flags, stream, payload)
            return
        if kind == CONTINUATION:
            raise BrokenProtocol(Code.PROTOCOL_ERROR, "a CONTINUATION of nothing")
        if kind in (DATA, HEADERS) and payload:
            self._idle_frames = 0
        elif kind != WINDOW_UPDATE:
            self._idle_frames += 1
            if self._idle_frames > _PATIENCE:
                raise BrokenProtocol(Code.ENHANCE_YOUR_CALM, "a flood of frames that say nothing")
        handler = self._on.get(kind)
        if handler is not None:  # others are to be ignored (4.1)
            handler(flags, stream, payload)

    def _on_data(self, flags: int, stream: int, payload: bytes) -> None:
        self._grant(stream, len(payload))
        exchange = self._known(stream)
        if flags & PADDED:
            payload = _unpadded(payload)
        if exchange is None:
            return
        if exchange.head is None:
            raise BrokenProtocol(Code.PROTOCOL_ERROR, "a message before its headers")
        last = bool(flags & END_STREAM)
        wanted = exchange.received(payload, last=last)
        if last:
            self._over(exchange)
        elif not wanted:
            self._reset(exchange, Code.CANCEL)

    def _grant(self, stream: int, size: int) -> None:
        """Let the peer send as much again, when half of it is used up."""
        self._taken += size
        if self._taken > WINDOW:
            raise BrokenProtocol(Code.FLOW_CONTROL_ERROR, "more than the window allows")
        if self._taken > WINDOW // 2:
            self.out += frame(WINDOW_UPDATE, 0, 0, self._taken.to_bytes(4))
            self._taken = 0
        exchange = self._streams.get(stream)
        if exchange is not None:
            exchange.taken += size
            if exchange.taken > WINDOW // 2:
                self.out += frame(WINDOW_UPDATE, 0, stream, exchange.taken.to_bytes(4))
                exchange.taken = 0

    def _on_headers(self, flags: int, stream: int, payload: bytes) -> None:
        if flags & PADDED:
            payload = _unpadded(payload)
        if flags & HAS_PRIORITY:
            payload = payload[5:]
        if flags & END_HEADERS:
            self._on_block(flags, stream, payload)
        else:
            self._block = flags, stream, payload

    def _on_continuation(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        assert self._block is not None  # noqa: S101 - asked by `_take`
        first, of, block = self._block
        block += payload
        if kind != CONTINUATION or stream != of:
            raise BrokenProtocol(Code.PROTOCOL_ERROR, "headers broken off by another frame")
        if len(block) > LARGEST_LIST or not payload:
            raise BrokenProtocol(Code.ENHANCE_YOUR_CALM, f"headers of {len(block)} bytes or more")
        self._block = first, of, block
        if flags & END_HEADERS:
            self._block = None
            self._on_block(first, stream, block)

    def _on_block(self, flags: int, stream: int, block: bytes) -> None:
        pairs = decoded(block)
        exchange = self._known(stream)
        if exchange is None:
            return
        last = bool(flags & END_STREAM)
        if not last and exchange.head is not None:
            raise BrokenProtocol(Code.PROTOCOL_ERROR, "trailers that are not the end")
        wanted = exchange.heard(pairs, last=last)
        if last:
            self._over(exchange)
        elif not wanted:
            self._reset(exchange, Code.CANCEL)

    def _on_reset(self, _: int, stream: int, payload: bytes) -> None:
        code = int.from_bytes(_exactly(4, payload))
        exchange = self._known(stream)
        if exchange is None:
            return
        if code == Code.REFUSED_STREAM:
            exchange.fail(NeverTaken("the server refused to begin the call"))
        else:
            exchange.reset(code)
        self._over(exchange)

    def _on_settings(self, flags: int, stream: int, payload: bytes) -> None:
        if stream or len(payload) % 6 or (flags & ACK and payload):
            raise BrokenProtocol(Code.FRAME_SIZE_ERROR, "settings that are none")
        if flags & ACK:
            return
        for key, value in _SETTING.iter_unpack(payload):
            self._set(key, value)
        self.out += frame(SETTINGS, ACK, 0)
        self._go_on()

    def _set(self, key: int, value: int) -> None:
        if key == _STREAMS:
            self._most = value
        elif key == _WINDOW:
            if value > _LARGEST_WINDOW:
                raise BrokenProtocol(Code.FLOW_CONTROL_ERROR, f"a window of {value} bytes")
            more, self._stream_window = value - self._stream_window, value
            for exchange in self._streams.values():
                exchange.window += more
        elif key == _FRAME_SIZE:
            if not _FRAME <= value < 1 << 24:
                raise BrokenProtocol(Code.PROTOCOL_ERROR, f"frames of {value} bytes")
            self._frame_size = value

    def _on_push(self, *_: object) -> None:
        raise BrokenProtocol(Code.PROTOCOL_ERROR, "a push, which was not allowed")

    def _on_ping(self, flags: int, _: int, payload: bytes) -> None:
        _exactly(8, payload)
        if not flags & ACK:
            self.out += frame(PING, ACK, 0, payload)

    def _on_goodbye(self, _: int, __: int, payload: bytes) -> None:
        if len(payload) < 8:
            raise BrokenProtocol(Code.FRAME_SIZE_ERROR, "a GOAWAY that is too short")
        self.goodbye = True
        last = int.from_bytes(payload[:4]) & _LAST_STREAM
        for stream in [each for each in self._streams if each > last]:
            self._streams.pop(stream).fail(NeverTaken("the server says goodbye"))
        while self._queue:
            self._queue.popleft().fail(NeverTaken("the server says goodbye"))

    def _on_window(self, _: int, stream: int, payload: bytes) -> None:
        more = int.from_bytes(_exactly(4, payload)) & _LARGEST_WINDOW
        if stream:
            exchange = self._known(stream)
            if exchange is None:
                return
            window = exchange.window = exchange.window + more
        else:
            window = self._window = self._window + more
        if not more or window > _LARGEST_WINDOW:
            raise BrokenProtocol(Code.FLOW_CONTROL_ERROR, f"a window of {window} bytes")
        self._go_on()

    def _known(self, stream: int) -> Exchange | None:
        """The call of a stream; None: it is over."""
        exchange = self._streams.get(stream)
        if exchange is None and (stream >= self._next or not stream % 2):
            raise BrokenProtocol(Code.PROTOCOL_ERROR, f"stream {stream}, which nobody opened")
        return exchange

    # ---- what goes out

    def _send(self, exchange: Exchange) -> None:
        exchange.stream, self._next = self._next, self._next + 2
        exchange.window = self._stream_window
        self._streams[exchange.stream] = exchange
        self.goodbye |= self._next > _LAST_STREAM
        block, size = exchange.block, self._frame_size
        if len(block) <= size:
            self.out += frame(HEADERS, END_HEADERS, exchange.stream, block)
        else:
            self._send_long(exchange.stream, block)
        if not self._send_message(exchange):
            self._held[exchange] = None

    def _send_long(self, stream: int, block: bytes) -> None:
        kind, size = HEADERS, self._frame_size
        for at in range(0, len(block), size):
            flags = END_HEADERS if at + size >= len(block) else 0
            self.out += frame(kind, flags, stream, block[at : at + size])
            kind = CONTINUATION

    def _send_message(self, exchange: Exchange) -> bool:
        """Whether all of it went."""
        left = exchange.left
        while left:
            size = min(len(left), self._window, exchange.window, self._frame_size)
            if size <= 0:
                exchange.left = memoryview(left)
                return False
            last = END_STREAM if size == len(left) else 0
            self.out += frame(DATA, last, exchange.stream, left[:size])
            self._window -= size
            exchange.window -= size
            left = memoryview(left)[size:] if not last else b""
        exchange.left = b""
        return True

    def _go_on(self) -> None:
        """Send what was held back, as far as it may go now."""
        for exchange in tuple(self._held):
            if self._send_message(exchange):
                del self._held[exchange]
        while self._queue and len(self._streams) < self._most:
            self._send(self._queue.popleft())

    def _reset(self, exchange: Exchange, code: Code) -> None:
        self.out += frame(RST_STREAM, 0, exchange.stream, int(code).to_bytes(4))
        self._held.pop(exchange, None)
        self._over(exchange)

    def _over(self, exchange: Exchange) -> None:
        """Forget it; a peer that answers before it has heard all need not hear the rest."""
        self._streams.pop(exchange.stream, None)
        if exchange in self._held:
            del self._held[exchange]
            self.out += frame(RST_STREAM, 0, exchange.stream, int(Code.NO_ERROR).to_bytes(4))
        if self._queue:
            self._go_on()


def _unpadded(payload: bytes) -> bytes:
    """Raise BrokenProtocol for more padding than frame."""
    if not payload or payload[0] >= len(payload):
        raise BrokenProtocol(Code.PROTOCOL_ERROR, "padding longer than its frame")
    return payload[1 : len(payload) - payload[0]]


def _exactly(size: int, payload: bytes) -> bytes:
    if len(payload) != size:
        raise BrokenProtocol(Code.FRAME_SIZE_ERROR, f"a frame of {len(payload)} bytes, not {size}")
    return payload
