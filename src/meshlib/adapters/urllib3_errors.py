"""What an urllib3 user catches for each of our errors."""

from __future__ import annotations

from urllib3 import exceptions

from meshlib import errors
from meshlib.adapters.translate import Table, Translator

TRANSLATIONS: Table = {
    errors.ConfigError: exceptions.MaxRetryError,
    errors.ControlError: exceptions.MaxRetryError,
    errors.RegistryUnavailable: exceptions.MaxRetryError,
    errors.IdentityUnavailable: exceptions.MaxRetryError,
    errors.NoRoute: exceptions.MaxRetryError,
    errors.NoEndpoint: exceptions.MaxRetryError,
    errors.Rejected: exceptions.MaxRetryError,
    errors.Denied: exceptions.MaxRetryError,
    errors.DeadlineExceeded: exceptions.ReadTimeoutError,
    errors.AttemptFailed: exceptions.ProtocolError,
    errors.ConnectFailed: exceptions.MaxRetryError,
    errors.PeerNotTrusted: exceptions.SSLError,
    errors.Interrupted: exceptions.ProtocolError,
}
"""For each of our errors; a test asserts that none is missing."""

TIMEOUTS: Table = {
    errors.ConnectFailed: exceptions.ConnectTimeoutError,
    errors.Interrupted: exceptions.ReadTimeoutError,
}
"""The same for attempts that failed because time was up."""

ERRORS = Translator(TRANSLATIONS, TIMEOUTS, pool=None, url=None, reason=None)
