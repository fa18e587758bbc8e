"""
What a handler is given as its `context`: grpcio's, with the mesh's word about the caller.

`context.mesh_peer` is the caller's `Identity`, None at the edge, where `context.mesh_edge` is true;
`context.mesh_claims` is what verified tokens of the end user say, `context.mesh_priority` how
urgent the RPC is.  The metadata shows nothing that says who is calling, and the time remaining is
that of the mesh's deadline where it is the shorter one.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any

import grpc

from meshlib.serve.admission import Refusal
from meshlib.serve.grpc.codes import code_of
from meshlib.serve.grpc.metadata import Metadata
from meshlib.serve.grpc.rpcs import Rpc

if TYPE_CHECKING:
    from meshlib.model import Identity


class Meshed:
    """What both contexts have; the RPC is told what the handler says how it went."""

    def __init__(self, context: Any, rpc: Rpc) -> None:
        self._context, self._rpc = context, rpc

    @property
    def mesh_peer(self) -> Identity | None:
        """The caller, as its certificate proves."""
        return self._rpc.connection.identity

    @property
    def mesh_edge(self) -> bool:
        """Whether it came by the edge."""
        return self._rpc.connection.edge

    @property
    def mesh_claims(self) -> dict[str, Any]:
        """What verified tokens of the end user say, by provider."""
        return dict(self._rpc.claims)

    @property
    def mesh_priority(self) -> int:
        """0 is the most urgent, 7 the least (RFC 9218)."""
        return self._rpc.priority

    def invocation_metadata(self) -> Any:
        """What the caller sent before its message, but for claims of identity."""
        return self._rpc.metadata

    def time_remaining(self) -> Any:
        """Seconds until nobody waits for the answer."""
        theirs, ours = self._context.time_remaining(), self._rpc.left
        if ours == inf:
            return theirs
        return max(0.0, ours if theirs is None else min(ours, theirs))

    def set_code(self, code: Any) -> None:
        """As grpcio's."""
        self._rpc.code = code
        self._context.set_code(code)

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        """As grpcio's."""
        self._rpc.trailing = tuple(trailing_metadata)
        self._context.set_trailing_metadata(trailing_metadata)

    def abort(self, code: Any, details: str = "", trailing_metadata: Metadata = ()) -> Any:
        """As grpcio's: raises, in an event loop once it is awaited."""
        rpc = self._rpc
        rpc.code, rpc.aborted = code, True
        rpc.trailing = tuple(trailing_metadata) or rpc.trailing
        said = rpc.last_words() or rpc.trailing
        if said:
            self._context.set_trailing_metadata(said)
        return self._context.abort(code, details)

    def abort_with_status(self, status: Any) -> Any:
        """As grpcio's."""
        return self.abort(status.code, status.details, status.trailing_metadata or ())


def _as_grpcio(name: str) -> Callable[..., Any]:
    def delegated(self: Meshed, *args: Any, **kwargs: Any) -> Any:
        return getattr(self._context, name)(*args, **kwargs)

    delegated.__name__, delegated.__doc__ = name, "As grpcio's."
    return delegated


class ThreadContext(Meshed, grpc.ServicerContext):
    """The context of a handler that runs in a thread."""

    # what grpc.ServicerContext has, be it abstract or a method that raises
    add_callback = _as_grpcio("add_callback")
    auth_context = _as_grpcio("auth_context")
    cancel = _as_grpcio("cancel")
    code = _as_grpcio("code")
    details = _as_grpcio("details")
    disable_next_message_compression = _as_grpcio("disable_next_message_compression")
    is_active = _as_grpcio("is_active")
    peer = _as_grpcio("peer")
    peer_identities = _as_grpcio("peer_identities")
    peer_identity_key = _as_grpcio("peer_identity_key")
    send_initial_metadata = _as_grpcio("send_initial_metadata")
    set_compression = _as_grpcio("set_compression")
    set_details = _as_grpcio("set_details")
    trailing_metadata = _as_grpcio("trailing_metadata")


class LoopContext(Meshed):
    """The context of a handler that runs in an event loop."""

    def __getattr__(self, name: str) -> Any:
        """As grpcio's."""
        return getattr(self._context, name)


def refuse(context: Any, refusal: Refusal) -> Any:
    """End an RPC in place of the application: raises, in an event loop once it is awaited."""
    if refusal.headers:
        context.set_trailing_metadata(refusal.headers)
    return context.abort(code_of(refusal), refusal.reason)


def finish(context: Any, rpc: Rpc, error: BaseException | None = None, *, gone: bool) -> None:
    """The handler is done, or `error` escaped; call it in the context in which the RPC began."""
    if not rpc.aborted:
        if error is not None and rpc.code is None:
            rpc.code = grpc.StatusCode.UNKNOWN
        said = rpc.last_words()
        if said:
            context.set_trailing_metadata(said)
    rpc.end(error, gone=gone)
