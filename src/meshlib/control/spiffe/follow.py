"""
`Follower`: a daemon thread that keeps the stream of the Workload API open.

tenacity paces the reconnects, with jitter, as an agent that restarts has every process of its node
at the door.  A forked child follows for itself: it is another process to the agent as well.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field

from tenacity import (
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_when_event_set,
    wait_random_exponential,
)

from meshlib.control.local.atfork import ForkLock
from meshlib.control.spiffe.address import WorkloadAddress
from meshlib.control.spiffe.rpc import RpcFailed, Status, stream
from meshlib.errors import IdentityUnavailable
from meshlib.runtime import Rng

logger = logging.getLogger("meshlib.identity")

METHOD = "/SpiffeWorkloadAPI/FetchX509SVID"
HEADERS = (("workload.spiffe.io", "true"),)
"""Required of clients, so that no other request can be turned into one (Workload Endpoint, 6)."""
CONNECT = 3.0
"""Seconds until a connection is there."""
IDLE = 15.0
"""Seconds between two looks at the clock while nothing is said."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
"""Seconds; go-spiffe waits up to thirty as well."""
AGAIN = 0.5
"""Seconds, half of it chance, before a stream that worked is opened again."""
RANK = 4
"""Of the lock: it is taken within that of the source."""


class Misused(IdentityUnavailable):
    """The Workload API does not understand this client, which must not ask again."""


@dataclass(slots=True)
class _Life:
    """What one thread has to itself."""

    stopping: threading.Event = field(default_factory=threading.Event)
    sock: socket.socket | None = None


class Follower:
    """Follows from `start` until `stop`.

    `heard` gets every answer and says whether it was of use, `failed` why the stream is not there,
    `idle` is called every few seconds while it is silent; all on the thread of the follower.
    """

    def __init__(
        self,
        address: WorkloadAddress,
        *,
        heard: Callable[[bytes], bool],
        failed: Callable[[IdentityUnavailable], None],
        idle: Callable[[], None],
        rng: Rng,
    ) -> None:
        self._address, self._rng = address, rng
        self._heard, self._failed, self._idle = heard, failed, idle
        self._life: _Life | None = None
        self._lock = ForkLock(RANK, child=self._after_fork)

    def start(self) -> None:
        """Begin, unless that has happened."""
        with self._lock:
            if self._life is None:
                self._life = _Life()
                name = "meshlib-workload-api"
                threading.Thread(
                    target=self._run, args=(self._life,), name=name, daemon=True
                ).start()

    def stop(self) -> None:
        """End it, for good."""
        with self._lock:
            life = self._life = self._life or _Life()
        life.stopping.set()
        if life.sock is not None:
            with suppress(OSError):  # it may have ended by itself
                life.sock.shutdown(socket.SHUT_RDWR)

    def _after_fork(self) -> None:
        old, self._life = self._life, None
        if old is None:
            return
        if old.sock is not None:
            old.sock.close()  # no shutdown: the parent goes on with it
        if old.stopping.is_set():
            self._life = old
        else:
            self.start()

    def _run(self, life: _Life) -> None:
        retrying = Retrying(
            retry=retry_if_exception_type(IdentityUnavailable),
            wait=wait_random_exponential(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE),
            sleep=sleep_using_event(life.stopping),
            stop=stop_when_event_set(life.stopping),
            retry_error_callback=lambda _: None,  # stopped in the middle of a failure
        )
        while not life.stopping.is_set():
            retrying(self._follow, life)
            life.stopping.wait(AGAIN * (1 + self._rng.random()) / 2)

    def _follow(self, life: _Life) -> None:
        """One connection, to its end; raises IdentityUnavailable if it was of no use."""
        useful = False
        try:
            with closing(self._address.connect(CONNECT)) as life.sock:
                life.sock.settimeout(IDLE)
                for message in stream(life.sock, METHOD, HEADERS, self._idle):
                    if life.stopping.is_set():
                        return
                    useful = self._heard(message) or useful
        except (OSError, RpcFailed) as exc:
            if life.stopping.is_set():
                return
            fault = explained(exc, self._address)
            if isinstance(fault, Misused):
                life.stopping.set()
            self._failed(fault)
            if not useful:
                raise fault from exc
        except Exception as exc:
            # a listener, or what nobody thought of: a thread that dies would end all renewals
            logger.exception("the Workload API's answer could not be used")
            what = "an answer of the Workload API could not be used"
            raise IdentityUnavailable(what, why=f"{type(exc).__name__}: {exc}") from exc


def explained(error: OSError | RpcFailed, address: WorkloadAddress) -> IdentityUnavailable:
    """What people should hear of it."""
    if isinstance(error, OSError):
        what, why = f"no Workload API at {address}", error.strerror or str(error)
        return IdentityUnavailable(
            what, why=why, hint=_HINTS.get(type(error), "does the agent run?")
        )
    why = f"{error.message} (gRPC status {error.status})"
    if error.status == Status.PERMISSION_DENIED:
        what = f"the Workload API at {address} knows no identity for this process"
        hint = f"register it with the agent: pid {os.getpid()}, uid {os.getuid()}"
        return IdentityUnavailable(what, why=why, hint=hint)
    if error.status in {Status.INVALID_ARGUMENT, Status.UNIMPLEMENTED}:
        what, hint = f"{address} is no Workload API for this client", "is it another gRPC server?"
        return Misused(what, why=why, hint=hint)
    return IdentityUnavailable(f"the Workload API at {address} gives no identity", why=why)


_HINTS: dict[type[OSError], str] = {
    FileNotFoundError: "is the agent's socket mounted here, and does the agent run?",
    PermissionError: "may this user open the agent's socket?",
}
