"""A path for secrets that must never be a file: OpenSSL, through Python, reads keys from paths."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def secret_path(data: bytes) -> Iterator[str]:
    """A path that reads as `data` while the block runs.

    On Linux it is memory without a name (memfd); elsewhere a 0600 file in a 0700 folder, removed
    with the end of the block.
    """
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir():
        with _in_memory(data) as path:
            yield path
    else:
        with _in_folder(data) as path:
            yield path


@contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    with os.fdopen(os.memfd_create("meshlib", os.MFD_CLOEXEC), "wb") as file:
        file.write(data)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


@contextmanager
def _in_folder(data: bytes) -> Iterator[str]:
    with (
        tempfile.TemporaryDirectory(prefix="meshlib-") as folder,  # 0700 by mkdtemp
        tempfile.NamedTemporaryFile(dir=folder) as file,  # 0600 by mkstemp
    ):
        file.write(data)
        file.flush()
        yield file.name
