"""
A folder that only its owner can read, and files that are never seen half written.

The state of the embedded control plane is worth as much as the keys in it: whoever can read it can
be any service.  So wider modes, foreign owners and symlinks are refused, never repaired.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from meshlib.errors import ConfigError, ControlError

_OTHERS = 0o077
"""The mode bits of everybody but the owner."""
WHERE = "MESHLIB_HOME or --home says where the mesh keeps its state"
# a symlink is an error, and a FIFO in place of a file must not block the open
_SAFELY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def private_folder(path: Path) -> Path:
    """Make `path`, mode 0700, or check it; returns it.

    Raises ConfigError when it is something else than the caller's own folder, closed to others.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return check_folder(path)
    except OSError as exc:
        expected = f"a folder, or where one can be made ({exc.strerror})"
        raise ConfigError("folder", str(path), expected, hint=WHERE) from exc


def check_folder(path: Path) -> Path:
    """The same for a folder that must be there already; raises FileNotFoundError when it is not."""
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        kind = "a symlink" if stat.S_ISLNK(found.st_mode) else "something else"
        raise ConfigError("folder", str(path), f"a folder, found {kind}", hint=WHERE)
    _check_private("folder", path, found, 0o700)
    return path


def write_private(path: Path, data: bytes) -> None:
    """Put `data` at `path`, mode 0600: all of it or, whatever crashes, none of it.

    Raises ControlError.
    """
    try:
        _replace(path, data)
        sync_folder(path.parent)
    except OSError as exc:
        raise ControlError(f"{path} could not be written", why=exc.strerror or str(exc)) from exc


def read_private(path: Path) -> bytes:
    """The bytes at `path`.

    Raises ConfigError when it is a symlink, not a file, not the caller's or open to others;
    FileNotFoundError; ControlError for any other failure to read it.
    """
    handle = _open_private(path, os.O_RDONLY)
    try:
        with open(handle, "rb", closefd=False) as file:
            return file.read()
    except OSError as exc:
        raise ControlError(f"{path} could not be read", why=exc.strerror or str(exc)) from exc
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold `path`, made if need be, against all other threads and processes.

    The lock is the kernel's: it ends with the process that holds it, however that dies.  Raises
    what `read_private` raises.
    """
    handle = _open_private(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            yield
        finally:
            # a child forked meanwhile has a copy of the handle, which closing this one leaves
            fcntl.flock(handle, fcntl.LOCK_UN)
    finally:
        os.close(handle)


def sync_folder(path: Path) -> None:
    """Have the names in a folder survive a power failure."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _open_private(path: Path, flags: int) -> int:
    """A handle on a file that is only the caller's."""
    try:
        handle = os.open(path, flags | _SAFELY, 0o600)
    except FileNotFoundError:
        raise
    except OSError as exc:
        if path.is_symlink():
            raise ConfigError("file", str(path), "a file, found a symlink") from exc
        raise ControlError(f"{path} could not be opened", why=exc.strerror or str(exc)) from exc
    try:
        _check_file(path, os.fstat(handle))
    except BaseException:
        os.close(handle)
        raise
    return handle


def _check_file(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError("file", str(path), "a regular file")
    _check_private("file", path, found, 0o600)


def _check_private(kind: str, path: Path, found: os.stat_result, mode: int) -> None:
    if found.st_uid != os.geteuid():
        expected = f"a {kind} of uid {os.geteuid()}, found uid {found.st_uid}"
        raise ConfigError(kind, str(path), expected)
    seen = stat.S_IMODE(found.st_mode)
    if seen & _OTHERS:
        expected = f"mode {mode:04o} or narrower, found {seen:04o}"
        raise ConfigError(kind, str(path), expected, hint=f"chmod {mode:o} {path}")


def _replace(path: Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")  # 0600 from birth
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
