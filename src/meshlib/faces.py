"""
What a user of the mesh holds: clients of the libraries they know, over one stack.

Each is made for the library at hand, which is imported only when it is asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from meshlib.lazy import lazy

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from types import ModuleType

    import aiohttp
    import grpc
    import grpc.aio
    import httpx
    import requests
    import urllib3

    from meshlib.adapters.grpc.opened import Opened
    from meshlib.adapters.httpx import Face
    from meshlib.adapters.stacks import Engine
    from meshlib.stack.service import CallService


class Faces(ABC):
    """The faces of a mesh: `Mesh` says how a service is called."""

    @abstractmethod
    def _services(self, service: str) -> CallService:
        """The synchronous stack to `service`."""

    @abstractmethod
    def _services_of_loop(self, service: str) -> CallService:
        """The stack to `service` of the running event loop."""

    @abstractmethod
    def _services_over(self, service: str, engine: Engine) -> CallService:
        """The synchronous stack to `service` over an engine of its own."""

    @abstractmethod
    def _services_of_loop_over(self, service: str, engine: Engine) -> CallService:
        """The same of the running event loop."""

    def client(self, *, module: ModuleType | None = None, **options: Any) -> httpx.Client:
        """An `httpx.Client` whose requests to `http://<service>/...` go through the mesh.

        `options` are httpx's own; `module=httpx2` makes an `httpx2.Client` instead.
        """
        module = module or _httpx()
        transport = self._face(module).transport(self._services)
        client: httpx.Client = module.Client(transport=transport, trust_env=False, **options)
        return client

    def async_client(
        self, *, module: ModuleType | None = None, **options: Any
    ) -> httpx.AsyncClient:
        """The same as an `httpx.AsyncClient`.  It may be used in several event loops."""
        module = module or _httpx()
        transport = self._face(module).async_transport(self._services_of_loop)
        client: httpx.AsyncClient = module.AsyncClient(
            transport=transport, trust_env=False, **options
        )
        return client

    def requests_session(self) -> requests.Session:
        """A `requests.Session` whose requests to `http://<service>/...` go through the mesh."""
        from meshlib.adapters.requests_session import MeshSession

        return MeshSession(self._services)

    def requests_adapter(self) -> requests.adapters.BaseAdapter:
        """An adapter to mount for some URLs: `session.mount("http://backend/", adapter)`."""
        from meshlib.adapters.requests import MeshAdapter

        return MeshAdapter(self._services)

    def aiohttp_session(self, **options: Any) -> aiohttp.ClientSession:
        """An `aiohttp.ClientSession` whose requests to `http://<service>/...` go through the mesh.

        `options` are aiohttp's own, but for the connector and the class of requests, which are the
        mesh's.  Like any session it is made in the event loop it is used in.
        """
        from meshlib.adapters.aiohttp import session

        return session(self._services_of_loop, **options)

    def pool_manager(self, **options: Any) -> urllib3.PoolManager:
        """A `urllib3.PoolManager` whose pools are the services of the mesh."""
        from meshlib.adapters.urllib3 import MeshPoolManager

        return MeshPoolManager(self._services, **options)

    def grpc_channel(
        self,
        service: str,
        options: Sequence[tuple[str, Any]] | None = None,
        compression: grpc.Compression | None = None,
        *,
        idempotent: Collection[str] = (),
    ) -> grpc.Channel:
        """A `grpc.Channel` whose every RPC is a call of the mesh to `service`.

        `options` are grpcio's, less what is the mesh's to decide (retries, authority, idle time).
        `idempotent` names methods that may be carried out twice, `/package.Service/Method`: they
        are tried again, and hedged, as a GET is.  It ends with the mesh at the latest.  Raises
        ConfigError, at the first RPC.
        """
        from meshlib.adapters.grpc.needed import check_installed

        check_installed()
        from meshlib.adapters.grpc.open_sync import open_channel

        channel = open_channel(
            self._services_over, service, options or (), compression, frozenset(idempotent)
        )
        self._channels.add(channel)
        return channel

    @lazy
    def _channels(self) -> Opened:
        from meshlib.adapters.grpc.opened import Opened

        return Opened()

    def grpc_aio_channel(
        self,
        service: str,
        options: Sequence[tuple[str, Any]] | None = None,
        compression: grpc.Compression | None = None,
        interceptors: Sequence[grpc.aio.ClientInterceptor] | None = None,
        *,
        idempotent: Collection[str] = (),
    ) -> grpc.aio.Channel:
        """The same as a `grpc.aio.Channel`.  It may be used in several event loops."""
        from meshlib.adapters.grpc.needed import check_installed

        check_installed()
        from meshlib.adapters.grpc.open_aio import open_channel

        return open_channel(
            self._services_of_loop_over,
            service,
            options or (),
            compression,
            interceptors or (),
            frozenset(idempotent),
        )

    @staticmethod
    def _face(module: ModuleType) -> Face:
        from meshlib.adapters.httpx import face

        return face(module)


def _httpx() -> ModuleType:
    import httpx

    return httpx
