"""The same channels for asyncio: no event loop is held up by an answer that is yet to come."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, Self

import grpc
import grpc.aio

from meshlib.adapters.grpc.errors import AIO_ERRORS
from meshlib.auto.outgoing.grpc_late import Decide, Either, Methods
from meshlib.auto.outgoing.grpc_pending import PendingStreamCall, PendingUnaryCall
from meshlib.errors import MeshError


class LateAioChannel(Methods, grpc.aio.Channel):
    """A `grpc.aio.Channel` that decides with each RPC.

    `decide` does not wait where `knows` says so; `decide_later` may.
    """

    def __init__(
        self,
        decide: Decide,
        of_mesh: Callable[[str], Any],
        native: Callable[[], Any],
        *,
        knows: Callable[[], bool],
        decide_later: Callable[[], Awaitable[str | None]],
    ) -> None:
        self._decide, self._knows, self._decide_later = decide, knows, decide_later
        self._either = Either(of_mesh, native)
        self._method = functools.partial(_LateAioCallable, self)

    def known(self) -> Any:
        """The channel that is meant; None if that must be waited for, or is an error."""
        try:
            return self._either.to(self._decide()) if self._knows() else None
        except MeshError:
            return None  # who waits for it is told

    async def meant(self) -> Any:
        """The channel that is meant.  Raises CallError, RegistryUnavailable."""
        return self._either.to(await self._decide_later())

    async def close(self, grace: float | None = None) -> None:
        """Close what was made."""
        for each in tuple(self._either.made.values()):
            await each.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: FBT001, FBT002 - grpc's own signature
        """That of the channel that is meant now."""
        channel = self.known()
        if channel is None:
            return grpc.ChannelConnectivity.IDLE
        state: grpc.ChannelConnectivity = channel.get_state(try_to_connect)
        return state

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the channel that is meant now is in another state."""
        await (await self._translated()).wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the channel that is meant now can be used."""
        await (await self._translated()).channel_ready()

    async def _translated(self) -> Any:
        """The same; errors are those of an RPC."""
        try:
            return await self.meant()
        except MeshError as exc:
            raise AIO_ERRORS.translated(exc) from exc

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _LateAioCallable:
    """A method of whichever channel is meant."""

    def __init__(self, late: LateAioChannel, shape: str, args: Any, kwargs: Any) -> None:
        self._late = late
        self._of: Callable[[Any], Any] = lambda channel: getattr(channel, shape)(*args, **kwargs)
        self._pending = PendingUnaryCall if shape.endswith("_unary") else PendingStreamCall
        self._made: tuple[Any, Any] = None, None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        channel = self._late.known()
        if channel is not None:
            return self._on(channel)(*args, **kwargs)

        async def begin() -> Any:
            return self._on(await self._late.meant())(*args, **kwargs)

        return self._pending(begin, kwargs.get("timeout"))

    def _on(self, channel: Any) -> Any:
        known, method = self._made
        if known is not channel:
            method = self._of(channel)
            self._made = channel, method
        return method
