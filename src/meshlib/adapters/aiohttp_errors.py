"""What an aiohttp user catches for each of our errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp

from meshlib import errors
from meshlib.adapters.translate import Table, Translator
from meshlib.errors import MeshError

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ConnectionKey

TRANSLATIONS: Table = {
    errors.ConfigError: aiohttp.ClientConnectorError,
    errors.ControlError: aiohttp.ClientConnectorError,
    errors.RegistryUnavailable: aiohttp.ClientConnectorError,
    errors.IdentityUnavailable: aiohttp.ClientConnectorError,
    errors.NoRoute: aiohttp.ClientConnectorDNSError,
    errors.NoEndpoint: aiohttp.ClientConnectorError,
    errors.Rejected: aiohttp.ClientConnectorError,
    errors.Denied: aiohttp.ClientConnectorError,
    errors.DeadlineExceeded: aiohttp.ServerTimeoutError,
    errors.AttemptFailed: aiohttp.ClientConnectionError,
    errors.ConnectFailed: aiohttp.ClientConnectorError,
    errors.PeerNotTrusted: aiohttp.ClientConnectorCertificateError,
    errors.Interrupted: aiohttp.ServerDisconnectedError,
}
"""For each of our errors; a test asserts that none is missing."""

TIMEOUTS: Table = {
    errors.ConnectFailed: aiohttp.ConnectionTimeoutError,
    errors.Interrupted: aiohttp.SocketTimeoutError,
}
"""The same for attempts that failed because time was up."""

ERRORS = Translator(TRANSLATIONS, TIMEOUTS)


def told(error: MeshError, key: ConnectionKey) -> Exception:
    """The same error as one of aiohttp's, with the attributes that its own have."""
    twin = ERRORS.translated(error)
    if isinstance(twin, aiohttp.ClientConnectorError):
        twin._conn_key, twin._os_error = key, OSError(str(error))  # noqa: SLF001 - host, port, os_error
    if isinstance(twin, aiohttp.ClientConnectorCertificateError):
        twin._certificate_error = error  # noqa: SLF001 - its property says so
    if isinstance(twin, aiohttp.ServerDisconnectedError):
        twin.message = str(error)
    return twin
