"""
What websockets of httpx and httpx2 are spoken over: a 101's connection as their network stream.

`httpx-ws` and httpx2's own `client.websocket` take `response.extensions["network_stream"]` and
catch the errors of httpcore, or of httpcore2.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from meshlib.model import Reply
from meshlib.runtime import run_sync

_CORE = {"httpx": "httpcore", "httpx2": "httpcore2"}


def network(module: ModuleType, reply: Reply) -> Any:
    """The stream of a synchronous client of `module`."""
    return _streams(module)[0](reply)


def async_network(module: ModuleType, reply: Reply) -> Any:
    """The stream of an asynchronous client of `module`."""
    return _streams(module)[1](reply)


@functools.cache
def _streams(module: ModuleType) -> tuple[type[Any], type[Any]]:
    core = importlib.import_module(_CORE[module.__name__])
    return _sync_stream(core), _async_stream(core)


def _sync_stream(core: Any) -> type[Any]:
    class Stream(core.NetworkStream):  # type: ignore[misc] # made for the module at hand
        """One thread may read while another one writes."""

        def __init__(self, reply: Reply) -> None:
            self._reply = reply

        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            with _told(core.ReadError, core.ReadTimeout):
                data: bytes = self._reply.upgraded.read(max_bytes, timeout)
                return data

        def write(self, buffer: bytes, timeout: float | None = None) -> None:
            with _told(core.WriteError, core.WriteTimeout):
                self._reply.upgraded.write(buffer, timeout)

        def close(self) -> None:
            run_sync(self._reply.discard())

        def get_extra_info(self, info: str) -> Any:
            """Nothing: whom it leads to is the mesh's business."""
            del info

    return Stream


def _async_stream(core: Any) -> type[Any]:
    class Stream(core.AsyncNetworkStream):  # type: ignore[misc] # made for the module at hand
        """The same in an event loop."""

        def __init__(self, reply: Reply) -> None:
            self._reply = reply

        async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's
            with _told(core.ReadError, core.ReadTimeout):
                async with asyncio.timeout(timeout):
                    data: bytes = await self._reply.upgraded.read(max_bytes)
                    return data

        async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's
            with _told(core.WriteError, core.WriteTimeout):
                async with asyncio.timeout(timeout):
                    await self._reply.upgraded.write(buffer)

        async def aclose(self) -> None:
            await self._reply.discard()

        def get_extra_info(self, info: str) -> Any:
            """Nothing: whom it leads to is the mesh's business."""
            del info

    return Stream


@contextmanager
def _told(broken: type[Exception], late: type[Exception]) -> Iterator[None]:
    """Raise what httpcore would have raised."""
    try:
        yield
    except TimeoutError as exc:
        raise late(str(exc)) from exc
    except (OSError, ValueError) as exc:  # ValueError: of a socket that was closed meanwhile
        raise broken(str(exc)) from exc
