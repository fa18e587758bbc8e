"""
A `requests.Session` that does not merge what is not there.

requests merges every setting of a request with those of its session, in general: an empty mapping
with an empty mapping takes it as long as the mesh takes to choose an endpoint.  Here the settings
of a request that brings little of its own are put together at once, to the same result; everything
else, and whatever can be overridden, is requests' own.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import requests
from requests.cookies import RequestsCookieJar
from requests.structures import CaseInsensitiveDict

from meshlib.adapters.requests import MeshAdapter, translated
from meshlib.adapters.urllib3 import Services
from meshlib.adapters.wire import READ_AHEAD


class MeshSession(requests.Session):
    """See the module.  What it sends goes to services."""

    def __init__(self, services: Services) -> None:
        super().__init__()
        self.trust_env = False
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter(services))

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """The request with the settings of the session."""
        if not self._is_simple(request):
            return super().prepare_request(request)
        prepared = requests.PreparedRequest()
        prepared.prepare_method(str(request.method))
        prepared.prepare_url(request.url, None)  # type: ignore[arg-type]  # of a prepared one it is None
        prepared.prepare_headers(self._merged_headers(request.headers))
        prepared._cookies = RequestsCookieJar()  # noqa: SLF001 - what `prepare_cookies` makes of none
        prepared.prepare_body(request.data, request.files, request.json)
        if "@" in str(prepared.url):
            prepared.prepare_auth(None)
        prepared.prepare_hooks(request.hooks)
        return prepared

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> dict[str, Any]:
        """What is said of this request, or else of the session."""
        if self.trust_env or proxies or self.proxies:
            return super().merge_environment_settings(url, proxies, stream, verify, cert)
        return {
            "proxies": OrderedDict(),
            "stream": self.stream if stream is None else stream,
            "verify": self.verify if verify is None else verify,
            "cert": self.cert if cert is None else cert,
        }

    def _is_simple(self, request: requests.Request) -> bool:
        """Whether there is nothing to merge but headers."""
        return not (
            request.params
            or self.params
            or request.cookies
            or len(self.cookies)
            or self.trust_env
            or request.auth is not None
            or self.auth is not None
            or (self.hooks and any(self.hooks.values()))
            or not isinstance(request.method, str)
            or type(request.headers) is not dict
            or type(self.headers) is not CaseInsensitiveDict
        )

    def _merged_headers(self, own: Any) -> CaseInsensitiveDict[Any]:
        """The session's, and the request's in their place; None takes one away."""
        headers: CaseInsensitiveDict[Any] = self.headers
        if not own and None not in headers.values():
            return headers
        headers = headers.copy()
        headers.update(own)
        for name in [name for name, value in headers.items() if value is None]:
            del headers[name]
        return headers


class _Adapter(MeshAdapter):
    """The adapter of such a session, which reads what the session would read next."""

    def send(
        self,
        request: requests.PreparedRequest,
        stream: Any = False,  # noqa: FBT002 - requests' own signature
        *args: Any,
        **options: Any,
    ) -> requests.Response:
        """Call the service.  Raises our errors, each of which is one of requests' as well."""
        response = super().send(request, stream, *args, **options)
        if not stream and not request.hooks.get("response"):
            with translated(request):
                _read_at_once(response)
        return response


def _read_at_once(response: requests.Response) -> None:
    """Take a small body as it is; requests reads it part by part, in case it is compressed."""
    raw = response.raw
    size = raw.length_remaining
    if size is None or size > READ_AHEAD or "Content-Encoding" in response.headers:
        return
    response._content = raw.read(decode_content=False)  # noqa: SLF001 - as `content` does
    response._content_consumed = True  # noqa: SLF001 - the same
    raw.close()
