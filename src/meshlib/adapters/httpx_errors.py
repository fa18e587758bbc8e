"""What an httpx user catches for each of our errors."""

from __future__ import annotations

from types import ModuleType

from meshlib import errors
from meshlib.adapters.translate import Table, Translator


def translations(module: ModuleType) -> Table:
    """For each of our errors; a test asserts that none is missing."""
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


def translator(module: ModuleType) -> Translator:
    """The translator for `httpx` or `httpx2`."""
    return Translator(translations(module), timeouts(module), _request=None)
