"""
What a caller says about its request: its deadline, its retry credit, whether it is a copy.

Only peers of the mesh are believed: the handshake proved who they are.  From the edge nothing is
taken over; `edge_deadline` lets a gateway that is trusted for it name a deadline, which can only
make this process wait less.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from meshlib.context import CREDIT, DEADLINE, EXPECTED, MIRRORED, RequestContext
from meshlib.observe.events import Inbound
from meshlib.policy.credit import read_credit
from meshlib.policy.nack import NO, RETRY
from meshlib.serve.options import AppOptions

CARRIED = (DEADLINE, EXPECTED, CREDIT, MIRRORED)
"""The request headers that are read here, in lower case."""

TOO_LATE = "the deadline of this request had passed when it arrived"


def context_of(options: AppOptions, said: Mapping[str, str], *, edge: bool) -> RequestContext:
    """The context of a request that came with these headers, of `CARRIED`."""
    if not said or (edge and not options.edge_deadline):
        return RequestContext(options.clock)
    ours, theirs = said.get(DEADLINE), said.get(EXPECTED)
    deadline = _seconds(ours) if ours == theirs else min(_seconds(ours), _seconds(theirs))
    return RequestContext(
        options.clock,
        deadline=inf if deadline == inf else options.clock() + deadline,
        credit=None if edge else read_credit(said.get(CREDIT)),
        mirrored=not edge and said.get(MIRRORED) == "1",
    )


def continues(context: RequestContext | None) -> bool:
    """Whether the request belongs to a tree of calls that began in another process."""
    return context is not None and context.credit is not None


def said_back(context: RequestContext, inbound: Inbound, status: int) -> list[tuple[str, str]]:
    """The headers an answer of this status carries: unspent credit, and a word against retrying."""
    if inbound.peer is None:
        return []
    said = []
    if context.granted:
        said.append((CREDIT, str(context.unspent())))
    if status >= 500 and context.futile:
        said.append((RETRY, NO))
    return said


def _seconds(milliseconds: str | None) -> float:
    """What a header says; inf when it says nothing that can be read."""
    if milliseconds is None or not (milliseconds.isascii() and milliseconds.isdigit()):
        return inf
    return int(milliseconds[:12]) / 1000
