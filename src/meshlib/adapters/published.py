"""What others publish at a URL: of a service, through the mesh; of anybody else, by https."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from meshlib.errors import MeshError, RegistryUnavailable


class Published:
    """Gets what is at a URL.

    `client` makes a client of the mesh, `https` gets what is outside of it within so many seconds.
    """

    def __init__(
        self, client: Callable[[], httpx.Client], https: Callable[[str, float], bytes]
    ) -> None:
        self._client, self._https = client, https

    def __call__(self, url: str, timeout: float) -> bytes:
        """The body of an answer 200.  Raises MeshError, OSError, ValueError."""
        if url.startswith("https:"):
            return self._https(url, timeout)
        what = f"{url} could not be read through the mesh"
        try:
            with self._client() as http:
                answer = http.get(url, timeout=timeout)
        except httpx.HTTPError as exc:
            why = str(exc.__cause__ if isinstance(exc.__cause__, MeshError) else exc)
            raise RegistryUnavailable(what, why=why) from exc
        if answer.status_code != httpx.codes.OK:
            raise RegistryUnavailable(what, why=f"the answer is {answer.status_code}")
        return answer.content
