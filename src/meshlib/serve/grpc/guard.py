"""
Handlers that are guarded as they are added to a server, each once.

An interceptor does the same, but is asked again for every RPC, which takes grpcio as long as all
that the mesh asks of the caller.  So interceptors are for servers that have some of their own,
which the mesh's has to precede, and for those that had handlers before the mesh came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import grpc

from meshlib.serve.grpc.handlers import Around, Wrapped
from meshlib.serve.grpc.metadata import stripped

if TYPE_CHECKING:
    from meshlib.serve.grpc.handlers import Handler
    from meshlib.serve.grpc.health import Fallback


class Guard(grpc.GenericRpcHandler):
    """Guards what is added to it, and is itself the one generic handler that the server has."""

    def __init__(self, around: Around, own: Fallback) -> None:
        self._wrapped, self._own = Wrapped(around), own
        self._asked: tuple[Callable[[grpc.HandlerCallDetails], Handler | None], ...] = ()

    def all_of(self, said: dict[str, Any]) -> dict[str, Any]:
        """What is said of a server, with this in place of its handlers."""
        self.add(said.get("handlers") or ())
        return {**said, "handlers": (self,)}

    def add(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Answer for these, too, where the handlers added earlier have no answer."""
        self._asked = (*self._asked, *(each.service for each in handlers))

    def guarded(self, service: str, handlers: Mapping[str, Handler]) -> dict[str, Handler]:
        """The handlers of a service, by the names of its methods."""
        return {
            name: self._wrapped(f"/{service}/{name}", handler) for name, handler in handlers.items()
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """The handler of a method; where the application has none, the mesh's own."""
        path, seen = handler_call_details.method, stripped(handler_call_details)
        for ask in self._asked:
            handler = ask(seen)
            if handler is not None:
                return self._wrapped(path, handler)
        return self._own(path)
