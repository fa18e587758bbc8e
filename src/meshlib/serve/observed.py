"""
What a service was asked for while its intentions were only told of (`audit`).

`meshlib authz suggest` makes rules of it.  Counted are callers, methods and patterns of paths, in
which whatever looks like a name of one thing (a number, a hash, an address) is `*`: nothing of
anybody's data is kept, and there are no more than `MOST` of them.  They are handed on a second
after something was counted, by a thread that ends with that.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from meshlib.errors import MeshError
from meshlib.observe.events import Inbound

log = logging.getLogger("meshlib.authorization")

MOST = 500
"""Rows; what comes beyond them is counted together."""
PAUSE = 1.0
"""Seconds between two times they are handed on."""
LONGEST = 200
"""Characters of a pattern."""

_METHOD = re.compile(r"[A-Z]{1,16}")
_THING = re.compile(r"[0-9]+|(?=.*[0-9])[\w.-]{8,}|.{25,}|.*[^A-Za-z0-9._~-].*", re.DOTALL)
"""A segment that names one thing, rather than a kind of thing."""

Row: TypeAlias = tuple[str, str, str]
"""Caller, method, pattern."""


def pattern(path: str | None) -> str:
    """What is common to requests like this one: `/cities/*` for `/cities/42`; "" if unreadable."""
    if path is None:
        return ""
    segments = path[1:].split("/")
    for number, segment in enumerate(segments):
        if _THING.fullmatch(segment):
            path = f"/{''.join(f'{each}/' for each in segments[:number])}*"
            break
    return path if len(path) <= LONGEST else "/*"


class Observed:
    """Thread-safe; a forked process counts for itself.  `write` may raise MeshError, OSError."""

    def __init__(self, write: Callable[[Mapping[str, Any]], None], *, pause: float = PAUSE) -> None:
        self._write, self._pause = write, pause
        self._begin()

    def note(self, inbound: Inbound, path: str | None) -> None:
        """A request came whose path is read as `path`."""
        if self._process != os.getpid():
            self._begin()
        method = inbound.method if _METHOD.fullmatch(inbound.method) else ""
        row = inbound.caller, method, pattern(path)
        with self._lock:
            if row in self._rows or len(self._rows) < MOST:
                self._rows[row] = self._rows.get(row, 0) + 1
            else:
                self._beyond += 1
            self._hand_on_soon()

    def page(self) -> dict[str, Any]:
        """All that was counted, as plain data."""
        with self._lock:
            rows, beyond = list(self._rows.items()), self._beyond
        seen = [
            {"caller": caller, "method": method, "path": path, "requests": requests}
            for (caller, method, path), requests in rows
        ]
        return {"seen": seen, "beyond": beyond}

    def _begin(self) -> None:
        # neither a lock nor a timer of the parent is of use in a forked child
        self._lock = threading.Lock()
        self._rows: dict[Row, int] = {}
        self._beyond = 0
        self._pending = False
        self._process = os.getpid()

    def _hand_on_soon(self) -> None:
        if not self._pending:
            self._pending = True
            timer = threading.Timer(self._pause, self._hand_on)
            timer.daemon = True
            timer.start()

    def _hand_on(self) -> None:
        with self._lock:
            self._pending = False
        try:
            self._write(self.page())
        except (MeshError, OSError) as exc:
            log.warning("what was observed could not be written: %s", exc)
