"""
Requests to the agent, and blocking queries.

Ordinary blocking code for the daemon threads of the control plane; a request of the application
never comes here.  Every request has a time-out of its own on this side, because an agent whose
servers hang hangs with them.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from meshlib.control.consul.address import ConsulAddress
from meshlib.control.consul.breaker import AgentBreaker, Moved
from meshlib.control.consul.encoding import decoded, encoded, index_in, target
from meshlib.control.consul.faults import (
    AgentUnreachable,
    Asked,
    ConsulFault,
    CutShort,
    NotThere,
    fault_of,
)
from meshlib.control.consul.unreachable import unreachable
from meshlib.control.consul.wire import Wire, Wires
from meshlib.runtime import Clock, Rng, new_rng, real_clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pybreaker

TIMEOUT = 10.0
"""Seconds for a short request."""
WAIT = 55.0
"""Seconds of a blocking query.  Consul's default is five minutes; after a server was restored to an
older state, a change is not delivered before the wait ends, so it is kept under a minute."""
JITTER, GRACE = 1.07, 5.0
"""Consul answers after up to wait + wait/16; a little more, and time for the answer itself."""

Param: TypeAlias = "str | bool | None"
"""Of a query string: a value, or None or True for a bare flag such as `stale`; False: left out."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the agent said."""

    status: int
    body: Any
    """Decoded JSON; None if empty; text or bytes if it is no JSON (`?raw`)."""
    index: int
    """X-Consul-Index, what to wait from; 0 if there is none."""
    headers: Mapping[str, str]
    """Lower-case names."""

    @property
    def from_cache(self) -> bool:
        """Whether the agent answered from its own memory, as `?cached` allows."""
        return self.headers.get("x-cache") == "HIT"

    @property
    def filtered(self) -> bool:
        """Whether something was left out for want of rights; servers say so since 1.11."""
        return self.headers.get("x-consul-results-filtered-by-acls") == "true"

    @property
    def age(self) -> float:
        """Seconds since a cached answer was true; 0 if it was not cached."""
        text = self.headers.get("age", "0")
        return float(text) if text.isdigit() else 0.0


class Interrupt:
    """Ends the one wait it was given to, now or as soon as it begins."""

    def __init__(self) -> None:
        self.happened = False
        self._cut: Callable[[], None] | None = None

    def set(self) -> None:
        """End the wait; safe on any thread."""
        self.happened = True  # first: whoever arms afterwards sees it
        if (cut := self._cut) is not None:
            cut()

    def arm(self, cut: Callable[[], None] | None) -> None:
        """Say what there is to cut; cuts at once if it has happened."""
        self._cut = cut
        if self.happened and cut is not None:
            cut()


class ConsulClient:
    """Speaks to one agent, over few connections.  Safe for threads, and usable after a fork.

    `moved` hears of the breaker's states, as do pybreaker `listeners`.
    """

    def __init__(
        self,
        address: ConsulAddress,
        *,
        clock: Clock = real_clock,
        rng: Rng | None = None,
        moved: Moved | None = None,
        listeners: tuple[pybreaker.CircuitBreakerListener, ...] = (),
    ) -> None:
        self.address = address
        self._wires = Wires(address)
        self.breaker = AgentBreaker(
            str(address), clock=clock, rng=rng or new_rng(), moved=moved, listeners=listeners
        )

    def get(self, path: str, *, timeout: float = TIMEOUT, **params: Param) -> Answer:
        """Read now.  `cached=True` asks the agent's own memory, `stale=True` any server.

        Raises ConsulFault; NotThere for a 404.
        """
        asked = self._asked("GET", path, params)
        answer = self._ask(asked, timeout)
        return _present(asked, answer)

    def wait(
        self,
        path: str,
        *,
        index: int,
        seconds: float = WAIT,
        interrupt: Interrupt | None = None,
        **params: Param,
    ) -> Answer:
        """One blocking query: answered when there is something newer than `index`, or in the end.

        With index 0 it is answered at once.  What does not exist (a key, an entry) is no fault but
        an answer with status 404, as one can wait for it.  Raises ConsulFault; CutShort when ended
        by `interrupt` or by `close`.
        """
        if not index:
            asked, timeout = self._asked("GET", path, params), TIMEOUT / 2
        else:
            blocking = {**params, "index": str(index), "wait": f"{seconds * 1000:.0f}ms"}
            asked, timeout = self._asked("GET", path, blocking), seconds * JITTER + GRACE
        answer = self._ask(asked, timeout, waits=True, interrupt=interrupt)
        return answer if answer.index else _present(asked, answer)

    def put(
        self, path: str, body: Any = None, *, timeout: float = TIMEOUT, **params: Param
    ) -> Answer:
        """Write; `body` is sent as JSON, bytes as they are.  Raises ConsulFault."""
        asked = self._asked("PUT", path, params, body)
        return _present(asked, self._ask(asked, timeout))

    def post(
        self, path: str, body: Any = None, *, timeout: float = TIMEOUT, **params: Param
    ) -> Answer:
        """Make something that gets its name from Consul.  Raises ConsulFault."""
        asked = self._asked("POST", path, params, body)
        return _present(asked, self._ask(asked, timeout))

    def delete(self, path: str, *, timeout: float = TIMEOUT, **params: Param) -> Answer:
        """Remove.  Raises ConsulFault."""
        asked = self._asked("DELETE", path, params)
        return _present(asked, self._ask(asked, timeout))

    def close(self) -> None:
        """Close all connections; whoever waits on one gets CutShort."""
        self._wires.close()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._wires.closed

    @property
    def connections(self) -> int:
        """How many there are now, idle ones included."""
        return len(self._wires)

    def __repr__(self) -> str:
        return f"<ConsulClient {self.address} {self.breaker.state}>"

    def _asked(
        self, method: str, path: str, params: Mapping[str, Param], body: Any = None
    ) -> Asked:
        full = {name: value for name, value in params.items() if value is not False}
        for name, value in self._defaults(path):
            if value and not full.get(name):
                full[name] = value
        for name in ("dc", "ns", "partition"):
            if not full.get(name, "x"):
                del full[name]
        return Asked(method, path, full, body, str(self.address))

    def _defaults(self, path: str) -> tuple[tuple[str, str], ...]:
        """An agent's own endpoints take no datacentre: `ca/leaf` would make another identity."""
        place = self.address
        home = "" if path.startswith(("/v1/agent/", "/v1/status/")) else place.datacenter
        return ("dc", home), ("ns", place.namespace), ("partition", place.partition)

    def _ask(
        self,
        asked: Asked,
        timeout: float,
        *,
        waits: bool = False,
        interrupt: Interrupt | None = None,
    ) -> Answer:
        with self._watched(asked, interrupt), self._wires.lend(waits=waits) as wire:
            if interrupt is not None:
                interrupt.arm(wire.cut)
            return self._exchange(wire, asked, timeout)

    @contextmanager
    def _watched(self, asked: Asked, interrupt: Interrupt | None) -> Iterator[None]:
        """Tell the breaker how it went, and turn what the socket says into a fault."""
        self.breaker.admit()
        try:
            yield
        except (OSError, http.client.HTTPException) as exc:
            if self.closed or (interrupt is not None and interrupt.happened):
                self.breaker.undecided()
                raise CutShort(f"{asked} was ended by this process") from exc
            fault = unreachable(asked, self.address, exc)
            self._judge(asked, fault)
            raise fault from exc
        except ConsulFault:
            self.breaker.answered()
            raise
        except BaseException:
            self.breaker.undecided()
            raise
        else:
            self.breaker.answered()
        finally:
            if interrupt is not None:
                interrupt.arm(None)

    def _judge(self, asked: Asked, fault: AgentUnreachable) -> None:
        """A slow answer is the agent's own doing only if it needed nobody else for it."""
        if fault.timed_out and "cached" not in asked.params:
            self.breaker.undecided()
        else:
            self.breaker.failed(fault)

    def _exchange(self, wire: Wire, asked: Asked, timeout: float) -> Answer:
        wire.prepare(timeout)
        try:
            response = self._send(wire, asked)
        except ConnectionError:
            if wire.fresh or wire.is_cut or asked.method != "GET":
                raise
            wire.close()  # closed by the agent just when it was to be used again
            wire.prepare(timeout)
            response = self._send(wire, asked)
        raw = response.read()
        wire.fresh = False
        if response.status >= 400 and response.status != 404:
            raise fault_of(asked, response.status, raw.decode("utf-8", "replace"))
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, decoded(asked, raw, headers), index_in(headers), headers)

    def _send(self, wire: Wire, asked: Asked) -> http.client.HTTPResponse:
        wire.request(asked.method, target(asked), encoded(asked.body), self._headers())
        return wire.getresponse()

    def _headers(self) -> dict[str, str]:
        token = self.address.current_token()
        headers = {"User-Agent": "meshlib"}
        return {**headers, "X-Consul-Token": token} if token else headers


def _present(asked: Asked, answer: Answer) -> Answer:
    if answer.status != 404:
        return answer
    text = answer.body if isinstance(answer.body, str) else ""
    fault = fault_of(asked, 404, text)
    if isinstance(fault, NotThere):
        fault.index = answer.index
    raise fault
