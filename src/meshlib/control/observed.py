"""
What services of this machine were asked for, one small file a process.

They stand beside the embedded control plane's state, in a folder that only its owner can read; with
another control plane too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshlib.control.local.folder import private_folder, read_private, write_private
from meshlib.errors import ConfigError
from meshlib.trust.spiffe import check_name

FILES = 64
"""Kept for each service; the oldest go first."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Requests that are alike."""

    caller: str
    method: str
    """Empty: one that nobody knows."""
    path: str
    """Exact, or with `*` at its end; empty: it has no one reading."""
    requests: int


@dataclass(frozen=True, slots=True)
class Observations:
    """All that is known of one service."""

    seen: tuple[Seen, ...]
    beyond: int
    """Requests that were only counted, as there were too many different ones."""
    files: int


class ObservedFolder:
    """The files of all services.  Nothing is made before something is written."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def write(self, service: str, instance: str, page: Mapping[str, Any]) -> None:
        """What one process has seen, in place of what it wrote before.  Raises MeshError."""
        check_name("service", service)
        private_folder(self._home)
        private_folder(self._home / "observed")
        folder = private_folder(self._home / "observed" / service)
        name = "".join(each if each.isalnum() else "-" for each in instance)[:100]
        write_private(folder / f"{name}-{os.getpid()}.json", json.dumps(page).encode())
        for old in _by_age(folder)[:-FILES]:
            old.unlink(missing_ok=True)

    def read(self, service: str) -> Observations:
        """What all processes of a service have seen.  Raises ConfigError, ControlError."""
        check_name("service", service)
        counts: dict[tuple[str, str, str], int] = {}
        beyond = files = 0
        for path in _by_age(self._home / "observed" / service):
            page = _page(path)
            files, beyond = files + 1, beyond + int(page["beyond"])
            for row in page["seen"]:
                key = str(row["caller"]), str(row["method"]), str(row["path"])
                counts[key] = counts.get(key, 0) + int(row["requests"])
        rows = (Seen(*key, count) for key, count in sorted(counts.items()))
        return Observations(tuple(rows), beyond, files)

    def forget(self, service: str) -> int:
        """Remove the files of a service; how many there were."""
        check_name("service", service)
        files = _by_age(self._home / "observed" / service)
        for path in files:
            path.unlink(missing_ok=True)
        return len(files)


def _by_age(folder: Path) -> list[Path]:
    found = [(path.stat().st_mtime, path) for path in folder.glob("*.json")]
    return [path for _, path in sorted(found)]


def _page(path: Path) -> Mapping[str, Any]:
    try:
        page = json.loads(read_private(path))
        if isinstance(page["seen"], list) and isinstance(page["beyond"], int):
            return dict(page)
    except (ValueError, LookupError, TypeError) as exc:
        raise ConfigError(str(path), str(exc), "what a service has written") from exc
    raise ConfigError(str(path), page, "what a service has written")
