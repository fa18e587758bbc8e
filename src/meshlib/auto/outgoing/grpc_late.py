"""
Channels whose targets are looked up when an RPC is made.

A service that is registered after the program has started is called through the mesh from then on,
and never again in plaintext.  Errors are those of an RPC.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import grpc
import grpc.aio

from meshlib.adapters.grpc.errors import AIO_ERRORS, ERRORS
from meshlib.adapters.translate import Translator
from meshlib.errors import MeshError

Decide = Callable[[], str | None]
"""The service that is meant; None: nobody's.  Raises CallError, RegistryUnavailable."""


class _Either:
    """The channels that there may be, each made when it is first used."""

    def __init__(
        self,
        errors: Translator,
        decide: Decide,
        of_mesh: Callable[[str], Any],
        native: Callable[[], Any],
    ) -> None:
        self._errors, self._decide = errors, decide
        self._of_mesh, self._native = of_mesh, native
        self.made: dict[str | None, Any] = {}

    def now(self) -> Any:
        """The one that is meant.  Raises our errors, each of which is an RpcError as well."""
        try:
            service = self._decide()
        except MeshError as exc:
            raise self._errors.translated(exc) from exc
        found = self.made.get(service)
        if found is None:
            new = self._native() if service is None else self._of_mesh(service)
            found = self.made.setdefault(service, new)
        return found


class _LateCallable:
    """A method of either channel."""

    def __init__(self, either: _Either, shape: str, args: Any, kwargs: Any) -> None:
        self._either, self._shape = either, shape
        self._args, self._kwargs = args, kwargs
        self._made: tuple[Any, Any] = None, None

    def _now(self) -> Any:
        channel = self._either.now()
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


class _Methods:
    """What both kinds of channels hand out."""

    _either: _Either

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        """One message each way."""
        return _LateCallable(self._either, "unary_unary", args, kwargs)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        """One message, and many in return."""
        return _LateCallable(self._either, "unary_stream", args, kwargs)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Many messages, and one in return."""
        return _LateCallable(self._either, "stream_unary", args, kwargs)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Many messages each way."""
        return _LateCallable(self._either, "stream_stream", args, kwargs)


class LateChannel(_Methods, grpc.Channel):
    """A `grpc.Channel` that decides with each RPC."""

    def __init__(
        self, decide: Decide, of_mesh: Callable[[str], Any], native: Callable[[], Any]
    ) -> None:
        self._either = _Either(ERRORS, decide, of_mesh, native)

    def subscribe(self, callback: Any, try_to_connect: bool | None = False) -> None:  # noqa: FBT001, FBT002 - grpc's own signature
        """Hear of the state of the channel that is meant now."""
        self._either.now().subscribe(callback, try_to_connect)

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


class LateAioChannel(_Methods, grpc.aio.Channel):
    """The same for asyncio."""

    def __init__(
        self, decide: Decide, of_mesh: Callable[[str], Any], native: Callable[[], Any]
    ) -> None:
        self._either = _Either(AIO_ERRORS, decide, of_mesh, native)

    async def close(self, grace: float | None = None) -> None:
        """Close what was made."""
        for each in tuple(self._either.made.values()):
            await each.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: FBT001, FBT002 - grpc's own signature
        """That of the channel that is meant now."""
        state: grpc.ChannelConnectivity = self._either.now().get_state(try_to_connect)
        return state

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the channel that is meant now is in another state."""
        await self._either.now().wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the channel that is meant now can be used."""
        await self._either.now().channel_ready()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
