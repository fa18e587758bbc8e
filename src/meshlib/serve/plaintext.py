"""
Permissive mutual TLS, for the time of a migration: who does not speak TLS yet is served as well.

It is off unless a document says so, and it can be switched while the service runs.  A program
cannot say it of itself: operators would not see it, and could not end it.  Off, the first byte of a
connection goes to TLS, whatever it is.  On, a connection whose first byte is that of a TLS
handshake goes to TLS as ever: nobody is asked to do without.  Any other is a stranger's, as if it
came by the edge: it has no identity, nothing it says of itself is believed, intentions let it in
only where everybody is let in, and every request of it is counted under the caller `(plaintext)`.
Switched off, such a connection is refused with its next request.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeAlias

from meshlib.config import ServingConfig
from meshlib.watch import Watch

log = logging.getLogger("meshlib.serve")

HANDSHAKE = 0x16
"""The first byte of a TLS connection (RFC 8446 section 5.1); no request of HTTP begins with it."""

Event: TypeAlias = Callable[[str, str, str], None]
"""As `Listener.control_event`: kind, subject, text."""


class Plaintext:
    """Whether plaintext is accepted at this moment."""

    __slots__ = ("_config", "_event", "_service", "_told")

    def __init__(self, service: str, config: Watch[ServingConfig], event: Event) -> None:
        self._service, self._config, self._event = service, config, event
        self._told = False
        config.subscribe(self._changed)

    @property
    def accepted(self) -> bool:
        """By the settings known now; before any are known it is not."""
        return self._config.value.mtls == "permissive" and self._config.ready

    def _changed(self) -> None:
        if self.accepted is self._told:
            return
        self._told = self.accepted
        kind = "mtls-permissive" if self._told else "mtls-strict"
        what = "is accepted besides" if self._told else "is refused; there is only"
        text = f"on the port of {self._service} plaintext {what} mutual TLS"
        log.warning("%s", text)
        self._event(kind, self._service, text)


def is_handshake(first: bytes) -> bool:
    """Whether a connection that begins with this byte speaks TLS."""
    return first[:1] == bytes((HANDSHAKE,))
