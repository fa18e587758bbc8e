"""What is behind an https URL, for what a control plane reads of others."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from typing import IO

_AT_ONCE = 65536


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect could lead to where nobody was authenticated; the URL is to be the right one."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> None:
        """Follow none."""


class _Straight(urllib.request.HTTPSHandler):
    """Ours, by which `meshlib.auto` tells what the mesh itself fetches from what programs do."""


def fetch_https(
    url: str, timeout: float, *, most: int, context: ssl.SSLContext | None = None
) -> bytes:
    """At most `most` bytes of an answer 200, by the certificates this machine trusts.

    Raises OSError, ValueError.
    """
    if not url.startswith("https://"):
        raise ValueError("expected a URL that begins with https://")
    trusted = context or ssl.create_default_context()
    opener = urllib.request.build_opener(_NoRedirect, _Straight(context=trusted))
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310 - https only, see above
    try:
        with opener.open(request, timeout=timeout) as answer:
            return _body(answer, most)
    except http.client.HTTPException as exc:
        raise ValueError(f"the answer is not HTTP: {exc}") from exc


def _body(answer: IO[bytes], most: int) -> bytes:
    data = bytearray()
    while chunk := answer.read(_AT_ONCE):
        data += chunk
        if len(data) > most:
            raise ValueError(f"the answer is longer than {most} bytes")
    return bytes(data)
