"""
The pump: one daemon thread of a process, which carries the bytes of all its relays.

It starts with the first relay.  A forked child has none of its parent's: it closes what it
inherited and starts a pump of its own when it needs one.  The unix sockets stand in a folder of
mode 0700 that goes with the process, each for the moment between handshake and grpcio's connect.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import selectors
import shutil
import socket
import ssl
import tempfile
import threading
from collections import deque

from meshlib.adapters.grpc.relay import DOWN, SIZE, UP, Relay

_LONGEST = 90
"""Characters of the folder's path: a unix socket's address ends at 108 (sun_path)."""


class Pump:
    """See the module; use `pump()`, not the class."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._buffer = memoryview(bytearray(SIZE))
        self._wake_up, self._woken = socket.socketpair()
        self._wake_up.setblocking(False)  # noqa: FBT003 - socket's own signature
        self._woken.setblocking(False)  # noqa: FBT003 - socket's own signature
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._orders: deque[tuple[Relay, bool]] = deque()
        self._interests: dict[Relay, dict[socket.socket, int]] = {}
        self._folder = _new_folder()
        self._pid = os.getpid()
        self._numbers = itertools.count(1)
        threading.Thread(target=self._run, name="meshlib-grpc-pump", daemon=True).start()

    def relay(self, remote: socket.socket, context: ssl.SSLContext) -> Relay:
        """Begin to shake hands on a connected socket, which is the relay's from now on."""
        path = f"{self._folder}/{next(self._numbers):x}-{os.urandom(6).hex()}"
        relay = Relay(remote, context, path)
        self._order(relay, end=False)
        return relay

    def close(self, relay: Relay) -> None:
        """End a relay, soon."""
        if not relay.ended:
            self._order(relay, end=True)

    @property
    def relays(self) -> int:
        """How many there are."""
        return len(self._interests)

    def forget(self) -> None:
        """Give up what a forked child has inherited, without a word to the peers."""
        for relay in (*self._interests, *(relay for relay, _ in self._orders)):
            relay.forget()
        self._selector.close()
        self._wake_up.close()
        self._woken.close()

    def clean_up(self) -> None:
        """Remove the folder, at the end of the process that made it."""
        if self._pid == os.getpid():
            shutil.rmtree(self._folder, ignore_errors=True)

    def _order(self, relay: Relay, *, end: bool) -> None:
        self._orders.append((relay, end))
        with contextlib.suppress(BlockingIOError):  # it is full of calls to wake up already
            self._wake_up.send(b"!")

    # ---- on the pump's thread

    def _run(self) -> None:
        busy: dict[Relay, int] = {}
        while True:
            due = busy
            for key, events in self._selector.select(0 if busy else None):
                relay: Relay | None = key.data
                if relay is not None:
                    due[relay] = due.get(relay, 0) | relay.due(key.fileobj, events)
                else:
                    self._woken.recv(4096)
            if self._orders:
                due |= dict.fromkeys(self._taken(), UP | DOWN)
            busy = {
                relay: UP | DOWN
                for relay, ways in due.items()
                if not relay.ended and self._advanced(relay, ways)
            }

    def _taken(self) -> set[Relay]:
        """Carry out what other threads asked for; returns the relays that begin."""
        begun = set()
        while self._orders:
            relay, end = self._orders.popleft()
            if not end:
                self._interests[relay] = {}
                begun.add(relay)
            elif not relay.ended:
                self._end(relay, None)
        return begun

    def _advanced(self, relay: Relay, due: int) -> bool:
        """Whether it is to be called again at once."""
        try:
            interests = relay.advance(self._buffer, due)
        except EOFError:
            self._end(relay, None)
        except Exception as exc:  # noqa: BLE001 - whatever it was, it was that connection's
            self._end(relay, exc)
        else:
            if interests is None:
                return True
            self._watch(relay, interests)
        return False

    def _watch(self, relay: Relay, interests: dict[socket.socket, int]) -> None:
        before = self._interests[relay]
        if before == interests:
            return
        for each, events in before.items():
            if events and not interests.get(each):
                self._unregister(each)
        for each, events in interests.items():
            if events and not before.get(each):
                self._selector.register(each, events, relay)
            elif events != before.get(each):
                self._selector.modify(each, events, relay) if events else None
        self._interests[relay] = interests

    def _unregister(self, each: socket.socket) -> None:
        with contextlib.suppress(KeyError, ValueError):  # closed: the kernel has forgotten it
            self._selector.unregister(each)

    def _end(self, relay: Relay, error: BaseException | None) -> None:
        for each, events in self._interests.pop(relay, {}).items():
            if events:
                self._unregister(each)
        relay.end(error)


_lock = threading.Lock()
_pump: Pump | None = None


def pump() -> Pump:
    """The pump of this process."""
    global _pump  # noqa: PLW0603 - one thread a process is what it is
    with _lock:
        if _pump is None:
            _pump = Pump()
            atexit.register(_pump.clean_up)
        return _pump


def _new_folder() -> str:
    folder = tempfile.mkdtemp(prefix="meshlib-")
    if len(folder) > _LONGEST:
        shutil.rmtree(folder)
        folder = tempfile.mkdtemp(prefix="meshlib-", dir="/tmp")
    return folder


def _after_in_child() -> None:
    global _lock, _pump  # noqa: PLW0603 - as above
    _lock = threading.Lock()
    inherited, _pump = _pump, None
    if inherited is not None:
        inherited.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_in_child)
