"""
What a request carries through the process that serves it.

The server side makes one `RequestContext` for each request and puts it into a context variable, so
that whatever the handler calls, from its task or its thread, is known to belong to that request: it
ends with the request's deadline, spends its retry credit, and tells when trying again is futile.

A context lasts until the last byte of the answer is out.  What the handler goes on doing after that
is nobody's request any more: calls made then have no deadline and a credit of their own.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar, Token
from math import inf

from meshlib.policy.credit import Credit
from meshlib.runtime import Clock

DEADLINE = "x-mesh-deadline-ms"
"""Milliseconds the caller will still wait.  Relative, so that no two clocks need to agree; the time
on the wire is not counted, which is the safe error: the caller itself stops waiting in time."""
EXPECTED = "x-envoy-expected-rq-timeout-ms"
"""Envoy's word for the same."""
CREDIT = "x-mesh-retry-credit"
"""With a request: the extra attempts it brings along.  With its answer: those it did not need."""

MIRRORED = "x-mesh-mirror"
"""Of a copy of a request, and of all calls that serving the copy causes: nobody reads the answer.
The Host header stays, unlike with Envoy, which appends `-shadow` to it."""

_beginning = threading.Lock()
"""Held while a tree gets its credit: two threads of one handler must not begin it twice."""


class RequestContext:
    """One request being served; see the module."""

    __slots__ = ("_clock", "credit", "deadline", "ended", "futile", "granted", "mirrored")

    def __init__(
        self,
        clock: Clock,
        *,
        deadline: float = inf,
        credit: int | None = None,
        mirrored: bool = False,
    ) -> None:
        self._clock = clock
        self.deadline = deadline
        """Absolute, on the clock it was made with; inf when the caller named none."""
        self.granted = credit or 0
        """What the caller handed on; only so much may be given back."""
        self.credit: Credit | None = None if credit is None else Credit(credit)
        """None: the tree begins here, with the credit of the first service that is called."""
        self.futile = False
        """Whether a call of this request failed for good: what could be tried again has been."""
        self.ended = False
        self.mirrored = mirrored
        """Whether it is a copy of a request, made by a mirror somewhere up the tree."""

    @property
    def left(self) -> float:
        """Seconds until the deadline; negative once it has passed, inf without one."""
        return self.deadline - self._clock()

    def credit_or(self, amount: int) -> Credit:
        """The credit of this request's tree, which begins with `amount` if it has none yet."""
        if self.credit is not None:
            return self.credit
        with _beginning:
            return self._begin(amount)

    def _begin(self, amount: int) -> Credit:
        if self.credit is None:
            self.credit = Credit(amount)
        return self.credit

    def unspent(self) -> int:
        """Take out what goes back to the caller: it is spent once, here or there."""
        return min(self.credit.drain(), self.granted) if self.credit is not None else 0

    def enter(self) -> Token[RequestContext | None]:
        """Be the context of what runs from here on."""
        return _current.set(self)

    def leave(self, token: Token[RequestContext | None]) -> None:
        """Be so no longer; call it where `enter` was called."""
        self.ended = True
        _current.reset(token)

    def __repr__(self) -> str:
        state = "ended" if self.ended else f"{self.left:.3g} s left"
        return f"<RequestContext {state}, credit {self.credit}>"


_current: ContextVar[RequestContext | None] = ContextVar("meshlib.request", default=None)


def current() -> RequestContext | None:
    """The request being served by this task or thread, if one still is."""
    context = _current.get()
    return None if context is None or context.ended else context


def deadline() -> float | None:
    """Seconds the caller of the request being served will still wait; 0.0 once it does not.

    None: there is no request, or its caller named no deadline.  Calls made through the mesh end
    with it by themselves; this is for work of another kind, see also `meshlib.drivers`.
    """
    context = current()
    if context is None or context.deadline == inf:
        return None
    return max(context.left, 0.0)


def mirrored() -> bool:
    """Whether the request being served is a copy of one that is served elsewhere.

    What it writes is written there too: this is where an application leaves it at that.
    """
    context = current()
    return context is not None and context.mirrored
