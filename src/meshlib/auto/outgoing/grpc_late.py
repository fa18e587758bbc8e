"""
Channels whose targets are looked up when an RPC is made.

A service that is registered after the program has started is called through the mesh from then on,
and never again in plaintext.  Errors are those of an RPC.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Self

import grpc

from meshlib.adapters.grpc.errors import ERRORS
from meshlib.errors import MeshError

Decide = Callable[[], str | None]
"""The service that is meant; None: nobody's.  Raises CallError, RegistryUnavailable."""


class Either:
    """The channels that there may be, each made when it is first used."""

    def __init__(self, of_mesh: Callable[[str], Any], native: Callable[[], Any]) -> None:
        self._of_mesh, self._native = of_mesh, native
        self.made: dict[str | None, Any] = {}

    def to(self, service: str | None) -> Any:
        """The one to a service, or to what is none."""
        found = self.made.get(service)
        if found is None:
            new = self._native() if service is None else self._of_mesh(service)
            found = self.made.setdefault(service, new)
        return found


class _LateCallable:
    """A method of either channel."""

    def __init__(self, channel: LateChannel, shape: str, args: Any, kwargs: Any) -> None:
        self._channel, self._shape = channel, shape
        self._args, self._kwargs = args, kwargs
        self._made: tuple[Any, Any] = None, None

    def _now(self) -> Any:
        channel = self._channel.now()
        known, method = self._made
        if known is not channel:
            method = getattr(channel, self._shape)(*self._args, **self._kwargs)
            self._made = channel, method
        return method

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._now()(*args, **kwargs)

    def with_call(self, *args: Any, **kwargs: Any) -> Any:
        """The response, and the call beside it."""
        return self._now().with_call(*args, **kwargs)

    def future(self, *args: Any, **kwargs: Any) -> Any:
        """The same, later; an error of ours is a future that has failed."""
        try:
            return self._now().future(*args, **kwargs)
        except MeshError as error:
            return error


class Methods:
    """What both kinds of channels hand out."""

    _method: Callable[[str, Any, Any], Any]

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        """One message each way."""
        return self._method("unary_unary", args, kwargs)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        """One message, and many in return."""
        return self._method("unary_stream", args, kwargs)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Many messages, and one in return."""
        return self._method("stream_unary", args, kwargs)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Many messages each way."""
        return self._method("stream_stream", args, kwargs)


class LateChannel(Methods, grpc.Channel):
    """A `grpc.Channel` that decides with each RPC."""

    def __init__(
        self, decide: Decide, of_mesh: Callable[[str], Any], native: Callable[[], Any]
    ) -> None:
        self._decide, self._either = decide, Either(of_mesh, native)
        self._method = partial(_LateCallable, self)

    def now(self) -> Any:
        """The one that is meant.  Raises our errors, each of which is an RpcError as well."""
        try:
            return self._either.to(self._decide())
        except MeshError as exc:
            raise ERRORS.translated(exc) from exc

    def subscribe(self, callback: Any, try_to_connect: bool | None = False) -> None:  # noqa: FBT001, FBT002 - grpc's own signature
        """Hear of the state of the channel that is meant now."""
        self.now().subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Any) -> None:
        """Hear of it no more."""
        for each in tuple(self._either.made.values()):
            each.unsubscribe(callback)

    def close(self) -> None:
        """Close what was made."""
        for each in tuple(self._either.made.values()):
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
