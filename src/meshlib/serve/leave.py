"""Telling the registry goodbye, without being held up by it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from meshlib.errors import MeshError

log = logging.getLogger("meshlib.serve")


def tell(step: Callable[[], None], seconds: float) -> None:
    """Do one step of deregistration, for at most `seconds`.

    A registry that fails or does not answer must not keep a server from leaving: its lease runs
    out by itself.
    """
    thread = threading.Thread(target=_quietly, args=(step,), name="meshlib-leave", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        log.warning("the registry has not answered within %.1f s; leaving without it", seconds)


def _quietly(step: Callable[[], None]) -> None:
    try:
        step()
    except (MeshError, OSError) as exc:
        log.warning("the registry could not be told that this instance leaves: %s", exc)
