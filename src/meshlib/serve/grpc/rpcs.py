"""
One RPC, from its arrival to its end, as every server of the mesh sees a request.

Its method is `POST`, its path `/<package>.<Service>/<Method>`, its headers are the metadata.
Nothing here waits: `threads` and `loops` ask the questions in the same order, each in its way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote

from meshlib.model import GRPC
from meshlib.observe.events import Inbound
from meshlib.policy import priority as priorities
from meshlib.policy.priority import ORDINARY
from meshlib.policy.rates import Visitor
from meshlib.serve.admission import Admission, Connection, Head, Refusal, flaw_of
from meshlib.serve.context import TOO_LATE, context_of
from meshlib.serve.grpc.codes import number_of, refusal_of, status_of
from meshlib.serve.grpc.metadata import REMEMBERED, Metadata, as_text, read
from meshlib.serve.grpc.peers import Peers
from meshlib.serve.guarded import authorized
from meshlib.serve.limits import Gate, Place
from meshlib.serve.options import ServeOptions
from meshlib.serve.stages import Stages
from meshlib.serve.told import Turned
from meshlib.serve.visit import Visit, log_refusal

if TYPE_CHECKING:
    import grpc

_TOO_LATE = Refusal(504, TOO_LATE)
_FOREVER = 1e8
"""Seconds left, from which on there is no deadline: grpcio's threads say 9e18 for none."""


class Arriving(Protocol):
    """What is asked of grpcio's context, in threads and in loops alike."""

    def auth_context(self) -> Mapping[str, Sequence[bytes]]:
        """What the handshake told."""

    def invocation_metadata(self) -> Metadata | None:
        """What the caller sent before its message."""

    def peer(self) -> str:
        """Such as "ipv4:127.0.0.1:1234"."""

    def time_remaining(self) -> float | None:
        """Seconds."""


class Desk:
    """Where RPCs arrive.  `options` are asked for with the first one."""

    def __init__(self, options: Callable[[], ServeOptions]) -> None:
        self._options = options
        self.stages = Stages()
        self.plaintext = False
        """Whether there is a port without TLS that the options do not tell of."""

    @cached_property
    def options(self) -> ServeOptions:
        """All that the server was told."""
        return self._options()

    @cached_property
    def _peers(self) -> Peers:
        options = self.options
        edge = options.edge is not None or self.plaintext
        return Peers(options.credentials, options.authorize, options.unix, edge=edge)

    @cached_property
    def _admission(self) -> Admission:
        return Admission(self.options.credentials, self.options.unix)

    def admit(self, path: str, context: Arriving) -> Connection | Refusal:
        """Who calls, or why nothing more is done for him."""
        connection = self._peers.connection(context.auth_context())
        refusal = _flaw(path) or self._admission.distrust(connection)
        if refusal is None:
            return connection
        log_refusal(refusal, "POST", Head("2", path), connection.identity)
        options = self.options
        options.listener.request_refused(options.service, "admission", refusal.status)
        return refusal


class Rpc:
    """An RPC that was admitted.  It begins when it is made, and ends once, in the same context."""

    __slots__ = (
        "_denied",
        "_place",
        "_request",
        "_token",
        "_visit",
        "aborted",
        "claims",
        "code",
        "connection",
        "gated",
        "inbound",
        "metadata",
        "priority",
        "trailing",
    )

    def __init__(self, desk: Desk, path: str, connection: Connection, context: Arriving) -> None:
        options, stranger = desk.options, connection.peer is None
        shown, headers, carried = read(context.invocation_metadata() or ())
        self.connection = connection
        self.metadata = shown
        """What the application sees of the metadata."""
        level = None if stranger else carried.get(priorities.HEADER)
        self.priority = ORDINARY if level is None else priorities.parse_priority(level)
        request = self._request = context_of(options, carried, edge=stranger)
        self.inbound = Inbound(
            "POST",
            path,
            headers,
            connection.identity,
            partial(_origin, context),
            connection.edge,
            continued=request.credit is not None,
            protocol=GRPC,
        )
        self.claims, self._denied = authorized(options, connection, self.inbound, self._header)
        # grpcio ends the RPC itself when its own time is up, so anybody's word is taken for it
        left = context.time_remaining()
        if left is not None and left <= _FOREVER:
            request.deadline = min(request.deadline, options.clock() + left)
        gate = options.gate
        self.gated: Gate | None = gate if gate is not None and gate.active else None
        """What else is to be asked, if there is any limit."""
        self.code: grpc.StatusCode | int | None = None
        """How it went, as the handler says."""
        self.trailing: Metadata = ()
        """The handler's own."""
        self.aborted = False
        """Whether the handler ended it, by an error that is none."""
        self._place: Place | None = None
        self._visit = Visit(options, self.inbound, request)
        self._token = priorities.adopt(self.priority)

    @property
    def left(self) -> float:
        """Seconds until nobody waits for the answer; inf without a deadline."""
        return self._request.left

    @property
    def visitor(self) -> Visitor:
        """Who draws on the rates."""
        inbound, peer = self.inbound, self.connection.identity
        if peer is None:
            return Visitor(inbound.client[0], "", inbound.method, inbound.path)
        return Visitor(peer.spiffe_id, peer.service, inbound.method, inbound.path)

    def refusal(self) -> Refusal | None:
        """Why the application is not asked, as far as this process knows by itself."""
        if self._denied is not None:
            return self._denied
        if self._visit.too_late():
            return _TOO_LATE
        gate = self.gated
        return refusal_of(gate.turned(self.visitor, self.priority)) if gate else None

    def place(self, gate: Gate, turned: Turned | None) -> Refusal | None:
        """Take a place among those that are served; `turned` is what the shared rates say."""
        place = turned or gate.place()
        if isinstance(place, Turned):
            return refusal_of(place)
        self._place = place
        return None

    def last_words(self) -> Metadata | None:
        """All of the trailing metadata, if the mesh has some to add to the handler's.

        Asked once, when the handler has said how it went.
        """
        said = self._visit.begin_answer(status_of(self.code))
        return (*self.trailing, *said) if said else None

    def end(self, error: BaseException | None = None, *, gone: bool = False) -> None:
        """Tell everybody; `error` is what escaped, `gone` whether the caller went away."""
        visit = self._visit
        visit.gone = gone
        if not gone:
            visit.said = {"grpc-status": number_of(self.code)}
        if self._place is not None:
            self._place.leave(0 if gone else visit.status)
        priorities.leave(self._token)
        visit.end(None if self.aborted else error)

    def _header(self, name: str) -> str | None:
        """All metadata of one name as one (RFC 9110 section 5.3); None: there is none.

        `_` is `-`, as on every other server.
        """
        asked = name.replace("_", "-")
        values = [
            as_text(value) for found, value in self.metadata if found.replace("_", "-") == asked
        ]
        return ",".join(values) if values else None


@lru_cache(maxsize=REMEMBERED)
def _flaw(path: str) -> Refusal | None:
    flaw = flaw_of(Head("2", path))
    return Refusal(400, flaw) if flaw else None


def _origin(context: Arriving) -> tuple[str, int]:
    # not asked for with each RPC: grpcio lets go of the interpreter to tell, and whoever takes it
    # keeps it for a while
    return _address(context.peer())


@lru_cache(maxsize=REMEMBERED)
def _address(peer: str) -> tuple[str, int]:
    """Host and port of "ipv4:127.0.0.1:1234" or "ipv6:%5B::1%5D:1234"."""
    family, _, rest = unquote(peer).partition(":")
    host, _, port = rest.rpartition(":")
    if not family.startswith("ipv") or not port.isdigit():
        return "", 0
    return host.removeprefix("[").removesuffix("]"), int(port)
