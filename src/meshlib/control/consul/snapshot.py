"""
The last known good on disk, for a start while Consul is down.

One file a service of this machine: endpoints, documents and intentions, never a key, a token or a
certificate.  It is signed with a key that only this user can read, so that what somebody else wrote
there, or a disk that lost half of it, is refused instead of believed.  Processes that share the
file add to what the others know.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from meshlib.control.registry import Document
from meshlib.errors import ControlError
from meshlib.model import Snapshot

OLDEST = 24 * 3600.0
"""Seconds; older knowledge is not used."""
FUTURE = 300.0
"""Seconds by which the clock may have been set back since: Kerberos' own allowance for clocks."""
LARGEST = 64 * 2**20
"""Bytes; ten times what a thousand services of a dozen instances take."""
MAGIC = b"meshlib-snapshot-1\n"
_SIGNATURE = 64
_KEY_BYTES = 32


class SnapshotRefused(ControlError):
    """There is a snapshot, and it is not to be believed."""


T = TypeVar("T")
Mark = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Kept:
    """What a process knew.  Names are those of services, or `service@datacenter`."""

    agent: str
    """The address of the agent it was learned from: another cluster's knowledge is not used."""
    at: Mapping[str, float] = field(default_factory=dict)
    """When Consul last confirmed what is known by a name: Unix time."""
    endpoints: Mapping[str, Snapshot] = field(default_factory=dict)
    documents: Mapping[str, tuple[Document, ...]] = field(default_factory=dict)
    intentions: Mapping[str, Any] = field(default_factory=dict)
    """As Consul said them."""

    def over(self, other: Kept) -> Kept:
        """This, and what only the other one knew."""
        return Kept(
            self.agent,
            {**other.at, **self.at},
            {**other.endpoints, **self.endpoints},
            {**other.documents, **self.documents},
            {**other.intentions, **self.intentions},
        )

    def fresh(self, now: float) -> Kept:
        """The part of it that is not too old, and not from the future."""
        at = {name: at for name, at in self.at.items() if now - OLDEST <= at <= now + FUTURE}
        return Kept(
            self.agent,
            at,
            _only(at, self.endpoints),
            _only(at, self.documents),
            _only(at, self.intentions),
        )


def _only(names: Mapping[str, float], known: Mapping[str, T]) -> dict[str, T]:
    return {name: value for name, value in known.items() if name in names}


class SnapshotFile:
    """One file in `folder`, which only its owner can read.  Raises ControlError if others can."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._path = folder, folder / f"{quote(name, safe='')}.snapshot"
        self._ours: tuple[Mark, Kept] | None = None

    def write(self, kept: Kept, now: float) -> None:
        """Replace the file as a whole, but for what only others know.

        Raises OSError, ControlError.
        """
        with suppress(SnapshotRefused):
            kept = kept.over(self._standing(kept.agent, now) or kept)
        content = msgspec.json.encode(kept, enc_hook=dict)  # for read-only mappings
        signature = self._sign(content).encode("ascii")
        self._ours = _replace(self._path, MAGIC + signature + b"\n" + content), kept

    def read(self, agent: str, now: float) -> Kept | None:
        """What was kept of that agent's cluster; None if nothing was.

        Raises SnapshotRefused for what is not ours, damaged, or too old; ControlError if the
        folder is not private.
        """
        try:
            kept = self._checked(_read_private(self._path))
        except FileNotFoundError:
            return None
        if kept.agent != agent:
            return None
        fresh = kept.fresh(now)
        if kept.at and not fresh.at:
            newest = max(kept.at.values())
            why = f"it is of {newest:.0f} (Unix time), and {OLDEST:g} s is the oldest"
            raise self._refused(why)
        return fresh

    def _standing(self, agent: str, now: float) -> Kept | None:
        """As `read`, without reading what this process itself has written last."""
        if self._ours is not None:
            with suppress(OSError):
                if self._ours[0] == _mark(self._path.lstat()):
                    return self._ours[1].fresh(now)
        return self.read(agent, now)

    def _checked(self, raw: bytes) -> Kept:
        signature, newline, content = raw.removeprefix(MAGIC).partition(b"\n")
        fits = raw.startswith(MAGIC) and len(signature) == _SIGNATURE and newline
        if not fits:
            raise self._refused("it is no snapshot of this version")
        if not hmac.compare_digest(signature, self._sign(content).encode("ascii")):
            raise self._refused("its signature is wrong: it is damaged, or somebody else's")
        try:
            return msgspec.json.decode(content, type=Kept)
        except msgspec.DecodeError as exc:
            raise self._refused(f"another version of meshlib wrote it: {exc}") from exc

    def _sign(self, content: bytes) -> str:
        return hmac.new(self._key(), content, sha256).hexdigest()

    def _key(self) -> bytes:
        """The key of this folder, made on first use."""
        self._check_folder()
        path = self._folder / "snapshot.key"
        try:
            key = _read_private(path)
        except FileNotFoundError:
            with suppress(FileExistsError):  # another process was first
                _create_private(path, secrets.token_bytes(_KEY_BYTES))
            key = _read_private(path)
        if len(key) != _KEY_BYTES:
            hint = "remove it: what it has signed is of no use any more"
            raise SnapshotRefused(f"{path} is no key", why=f"it has {len(key)} bytes", hint=hint)
        return key

    def _check_folder(self) -> None:
        for folder in (self._folder.parent, self._folder):  # `parents` would be made for all
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self._folder.lstat()
        mine = found.st_uid == os.getuid() and not self._folder.is_symlink()
        if not mine or found.st_mode & 0o077:
            raise ControlError(
                f"{self._folder} is not private",
                why="it is another user's, a link, or others can read it",
                hint=f"chmod 700 {self._folder}",
            )

    def _refused(self, why: str) -> SnapshotRefused:
        return SnapshotRefused(
            f"{self._path} is not used", why=why, hint="it is written anew once Consul answers"
        )


def _mark(found: os.stat_result) -> Mark:
    """Another one for every file that was written."""
    return found.st_ino, found.st_mtime_ns


def _replace(path: Path, content: bytes) -> Mark:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            mark = _mark(os.fstat(file.fileno()))
        os.replace(name, path)  # noqa: PTH105 - the name of a temporary file
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)  # noqa: PTH108 - the same
        raise
    return mark


def _read_private(path: Path) -> bytes:
    """Raises SnapshotRefused, FileNotFoundError."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as exc:  # ELOOP, for a link
        raise SnapshotRefused(f"{path} cannot be opened", why=str(exc)) from exc
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(file.fileno())
        mine = found.st_uid == os.getuid() and stat.S_ISREG(found.st_mode)
        if not mine or found.st_mode & 0o077:
            raise SnapshotRefused(
                f"{path} is not private",
                why="it is another user's, no plain file, or others can read it",
                hint=f"chmod 600 {path}",
            )
        return file.read(LARGEST)


def _create_private(path: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.link(name, path)  # whole, or not at all
    finally:
        os.unlink(name)  # noqa: PTH108 - the name of a temporary file
