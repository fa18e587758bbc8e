"""
Our errors as httpx's: each becomes a class that is both, so that users catch what they know.

The original is chained as the cause, and keeps its name: an `httpx.ConnectError` that was a
`meshlib.NoRoute` still is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import TypeAlias

from meshlib import errors
from meshlib.errors import MeshError

Table: TypeAlias = Mapping[type[MeshError], type[Exception]]


def translations(module: ModuleType) -> Table:
    """What an httpx user catches for each of our errors; a test asserts that none is missing."""
    return {
        errors.ConfigError: module.ConnectError,
        errors.ControlError: module.ConnectError,
        errors.RegistryUnavailable: module.ConnectError,
        errors.IdentityUnavailable: module.ConnectError,
        errors.NoRoute: module.ConnectError,
        errors.NoEndpoint: module.ConnectError,
        errors.Rejected: module.ConnectError,
        errors.Denied: module.ConnectError,
        errors.DeadlineExceeded: module.ReadTimeout,
        errors.AttemptFailed: module.NetworkError,
        errors.ConnectFailed: module.ConnectError,
        errors.PeerNotTrusted: module.ConnectError,
        errors.Interrupted: module.ReadError,
    }


def timeouts(module: ModuleType) -> Table:
    """The same for attempts that failed because time was up."""
    return {errors.ConnectFailed: module.ConnectTimeout, errors.Interrupted: module.ReadTimeout}


class Translator:
    """The classes that are both, for one module."""

    def __init__(self, module: ModuleType) -> None:
        self._plain = _both(translations(module))
        self._timed_out = {**self._plain, **_both(timeouts(module))}

    def translated(self, error: MeshError) -> Exception:
        """The same error, as one that users of the module catch too."""
        table = self._timed_out if getattr(error, "timed_out", False) else self._plain
        kind = table[type(error)]
        twin = kind.__new__(kind, *error.args)
        twin.__dict__.update(error.__dict__, _request=None)
        return twin


def _both(table: Table) -> Table:
    return {ours: type(ours.__name__, (ours, theirs), {}) for ours, theirs in table.items()}
