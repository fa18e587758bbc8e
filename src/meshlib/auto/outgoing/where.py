"""Where a request leads, as the program wrote it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Where:
    """An address and what `Host` says of it."""

    scheme: str
    host: str
    port: int | None
    authority: str

    @classmethod
    def of(cls, url: str) -> Where:
        """That of an absolute URL.  Raises ValueError for a port that is none."""
        parts = urlsplit(url)
        authority = parts.netloc.rpartition("@")[2]
        return cls(parts.scheme.lower(), parts.hostname or "", parts.port, authority)
