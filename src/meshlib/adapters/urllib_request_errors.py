"""What a user of `urllib.request` catches for each of our errors."""

from __future__ import annotations

from http.client import RemoteDisconnected
from urllib.error import URLError

from meshlib import errors
from meshlib.adapters.translate import Table, Translator

TRANSLATIONS: Table = {
    errors.ConfigError: URLError,
    errors.ControlError: URLError,
    errors.RegistryUnavailable: URLError,
    errors.IdentityUnavailable: URLError,
    errors.NoRoute: URLError,
    errors.NoEndpoint: URLError,
    errors.Rejected: URLError,
    errors.Denied: URLError,
    errors.DeadlineExceeded: TimeoutError,
    errors.AttemptFailed: URLError,
    errors.ConnectFailed: URLError,
    errors.PeerNotTrusted: URLError,
    errors.Interrupted: RemoteDisconnected,
}
"""For each of our errors; a test asserts that none is missing."""

TIMEOUTS: Table = {errors.Interrupted: TimeoutError}
"""The same for attempts that failed because time was up."""

_PLAIN = Translator(TRANSLATIONS, TIMEOUTS)


class _WithReason:
    """`URLError.reason` is the error behind it, as `urllib.request` has it."""

    def translated(self, error: errors.MeshError) -> Exception:
        """The same error, as one that users of the library catch too."""
        twin = _PLAIN.translated(error)
        if isinstance(twin, URLError):
            timed_out = getattr(error, "timed_out", False)
            twin.reason = TimeoutError(error.what) if timed_out else error
        return twin


ERRORS = _WithReason()
