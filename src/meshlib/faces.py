"""
What a user of the mesh holds: clients of the libraries they know, over one stack.

Each is made for the library at hand, which is imported only when it is asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

    import httpx
    import requests
    import urllib3

    from meshlib.adapters.httpx import Face
    from meshlib.stack.service import CallService


class Faces(ABC):
    """The faces of a mesh: `Mesh` says how a service is called."""

    @abstractmethod
    def _services(self, service: str) -> CallService:
        """The synchronous stack to `service`."""

    @abstractmethod
    def _services_of_loop(self, service: str) -> CallService:
        """The stack to `service` of the running event loop."""

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
        import requests

        session = requests.Session()
        session.trust_env = False
        for scheme in ("http://", "https://"):
            session.mount(scheme, self.requests_adapter())
        return session

    def requests_adapter(self) -> requests.adapters.BaseAdapter:
        """An adapter to mount for some URLs: `session.mount("http://backend/", adapter)`."""
        from meshlib.adapters.requests import MeshAdapter

        return MeshAdapter(self._services)

    def pool_manager(self, **options: Any) -> urllib3.PoolManager:
        """A `urllib3.PoolManager` whose pools are the services of the mesh."""
        from meshlib.adapters.urllib3 import MeshPoolManager

        return MeshPoolManager(self._services, **options)

    @staticmethod
    def _face(module: ModuleType) -> Face:
        from meshlib.adapters.httpx import face

        return face(module)


def _httpx() -> ModuleType:
    import httpx

    return httpx
