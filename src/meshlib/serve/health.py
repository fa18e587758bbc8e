"""The page at `/-/health`, which the mesh answers instead of the application."""

from __future__ import annotations

import json
import os
from typing import Any

from meshlib.serve.admission import Connection
from meshlib.serve.options import AppOptions
from meshlib.serve.stages import Stages

HEADERS = (("content-type", "application/json"), ("cache-control", "no-store"))


def health_page(
    options: AppOptions, stages: Stages, connection: Connection | None
) -> tuple[int, bytes]:
    """Status and body: 200 and "passing", or 503 and "draining".

    Peers of the mesh are told who answers; the edge hears the status and nothing else.
    """
    draining = stages.draining
    page: dict[str, Any] = {"status": "draining" if draining else "passing"}
    if connection is not None and connection.peer is not None:
        page |= _particulars(options)
    return 503 if draining else 200, json.dumps(page).encode()


def _particulars(options: AppOptions) -> dict[str, Any]:
    leaf = options.credentials.value.leaf
    return {
        "service": options.service,
        "instance": options.instance,
        "version": options.version,
        "certificate": {
            "spiffe_id": leaf.spiffe_id,
            "not_before": leaf.not_before,
            "not_after": leaf.not_after,
        },
        "pid": os.getpid(),
    }
