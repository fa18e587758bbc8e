"""What a requests user catches for each of our errors."""

from __future__ import annotations

from requests import exceptions

from meshlib import errors
from meshlib.adapters.translate import Table, Translator

TRANSLATIONS: Table = {
    errors.ConfigError: exceptions.ConnectionError,
    errors.ControlError: exceptions.ConnectionError,
    errors.RegistryUnavailable: exceptions.ConnectionError,
    errors.IdentityUnavailable: exceptions.ConnectionError,
    errors.NoRoute: exceptions.ConnectionError,
    errors.NoEndpoint: exceptions.ConnectionError,
    errors.Rejected: exceptions.ConnectionError,
    errors.Denied: exceptions.ConnectionError,
    errors.DeadlineExceeded: exceptions.ReadTimeout,
    errors.AttemptFailed: exceptions.ConnectionError,
    errors.ConnectFailed: exceptions.ConnectionError,
    errors.PeerNotTrusted: exceptions.SSLError,
    errors.Interrupted: exceptions.ConnectionError,
}
"""For each of our errors; a test asserts that none is missing."""

TIMEOUTS: Table = {
    errors.ConnectFailed: exceptions.ConnectTimeout,
    errors.Interrupted: exceptions.ReadTimeout,
}
"""The same for attempts that failed because time was up."""

ERRORS = Translator(TRANSLATIONS, TIMEOUTS, request=None, response=None)
