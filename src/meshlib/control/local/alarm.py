"""
What people hear of a certificate that is not renewed: each thing once, and that it is over.

From 70 % of its life a leaf that is not renewed is worth waking somebody; before that a failure is
a line for debugging.  That the CA in the folder is another one is said at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from meshlib.control.local.authorities import utc
from meshlib.control.local.ca import AnotherCA
from meshlib.errors import MeshError
from meshlib.trust.bundle import LeafCert

logger = logging.getLogger("meshlib.identity")

WORRY_AT = 0.7
"""Share of its life after which a leaf should have been renewed: all are at two thirds."""

Event = Callable[[str, str, str], None]
"""As `Listener.control_event`: kind, subject, text."""


def nobody_listens(kind: str, subject: str, text: str) -> None:
    """An `Event` that tells nobody."""
    del kind, subject, text


def overdue_at(leaf: LeafCert) -> float:
    """Since when a leaf should have been renewed, Unix time."""
    return moment(leaf, WORRY_AT)


def moment(leaf: LeafCert, share: float) -> float:
    """When a share of its life is over, Unix time."""
    return leaf.not_before + share * (leaf.not_after - leaf.not_before)


def words(error: Exception) -> str:
    """An error on one line."""
    if not isinstance(error, MeshError):
        return f"{type(error).__name__}: {error}"
    return f"{error.what}: {error.why}" if error.why else error.what


class Alarm:
    """Tells `event` and the log; `subject` is who renews."""

    def __init__(self, event: Event, subject: str = "CA") -> None:
        self._event, self._subject = event, subject
        self._told: set[tuple[str, str, object]] = set()

    def failed(self, error: Exception, leaves: Iterable[tuple[str, LeafCert]], now: float) -> None:
        """A renewal failed; `leaves` are those in use, by service."""
        reason = words(error)
        logger.debug("a renewal failed: %s", reason)
        if isinstance(error, AnotherCA):
            self._tell(logging.ERROR, "ca-replaced", "CA", f"{reason}; {error.hint}", error.found)
        else:
            self._tell(logging.DEBUG, "identity-trouble", self._subject, reason, None)
        for service, leaf in leaves:
            self._look(service, leaf, now, reason)

    def works(self) -> None:
        """All renewals that were due are done."""
        if self._told:
            self._told.clear()
            logger.info("certificates are renewed again")
            self._event("identity-restored", self._subject, "certificates are renewed again")

    def _look(self, service: str, leaf: LeafCert, now: float, reason: str) -> None:
        name, end = leaf.spiffe_id, utc(leaf.not_after)
        if now > leaf.not_after:
            text = f"{name} expired {end}, and nobody will talk to it; not renewed: {reason}"
            self._tell(logging.ERROR, "leaf-expired", service, text, leaf)
        elif now > overdue_at(leaf):
            text = f"{name} should have been renewed, and ends {end}; not renewed: {reason}"
            self._tell(logging.WARNING, "leaf-overdue", service, text, leaf)

    def _tell(self, level: int, kind: str, subject: str, text: str, what: object) -> None:
        if (kind, subject, what) not in self._told:
            self._told.add((kind, subject, what))
            logger.log(level, "%s", text)
            self._event(kind, subject, text)
