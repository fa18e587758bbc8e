"""What the instances say about themselves: `GET /-/health` of each, over mutual TLS."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
from collections.abc import Iterable
from contextlib import closing
from typing import Any

from meshlib.demo.strangers import Address, with_member_certificate
from meshlib.model import Endpoint
from meshlib.trust.bundle import Credentials

_PATIENCE = 2.0


async def healths(
    endpoints: Iterable[Endpoint], credentials: Credentials
) -> dict[str, dict[str, Any]]:
    """By instance; one that does not answer is left out."""
    context, endpoints = with_member_certificate(credentials), tuple(endpoints)
    told = await asyncio.gather(
        *(asyncio.to_thread(_ask, endpoint.address, context) for endpoint in endpoints)
    )
    return {e.id: answer for e, answer in zip(endpoints, told, strict=True) if answer}


def _ask(address: Address, context: ssl.SSLContext) -> dict[str, Any]:
    connection = http.client.HTTPSConnection(*address, timeout=_PATIENCE, context=context)
    with closing(connection):
        try:
            connection.request("GET", "/-/health")
            told: dict[str, Any] = json.load(connection.getresponse())
        except (OSError, http.client.HTTPException, ValueError):
            return {}
    return told
