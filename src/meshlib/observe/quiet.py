"""A listener that hears nothing, and one that passes everything on to several."""

from __future__ import annotations

from dataclasses import dataclass

from meshlib.errors import ConfigError
from meshlib.model import Call, Endpoint, Verdict
from meshlib.observe.events import Inbound, Listener


class Quiet:
    """Nobody is counting."""

    def attempt_finished(
        self, service: str, endpoint: Endpoint, verdict: Verdict, seconds: float
    ) -> None:
        """Do nothing."""

    def call_finished(self, call: Call, outcome: int | BaseException, seconds: float) -> None:
        """Do nothing."""

    def call_mirrored(self, service: str, mirror: str, outcome: str) -> None:
        """Do nothing."""

    def document_refused(self, kind: str, name: str, error: ConfigError) -> None:
        """Do nothing."""

    def request_served(self, service: str, inbound: Inbound, status: int, seconds: float) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class Everybody:
    """Several listeners as one."""

    listeners: tuple[Listener, ...]

    def attempt_finished(
        self, service: str, endpoint: Endpoint, verdict: Verdict, seconds: float
    ) -> None:
        """Tell all of them."""
        for listener in self.listeners:
            listener.attempt_finished(service, endpoint, verdict, seconds)

    def call_finished(self, call: Call, outcome: int | BaseException, seconds: float) -> None:
        """Tell all of them."""
        for listener in self.listeners:
            listener.call_finished(call, outcome, seconds)

    def call_mirrored(self, service: str, mirror: str, outcome: str) -> None:
        """Tell all of them."""
        for listener in self.listeners:
            listener.call_mirrored(service, mirror, outcome)

    def document_refused(self, kind: str, name: str, error: ConfigError) -> None:
        """Tell all of them."""
        for listener in self.listeners:
            listener.document_refused(kind, name, error)

    def request_served(self, service: str, inbound: Inbound, status: int, seconds: float) -> None:
        """Tell all of them."""
        for listener in self.listeners:
            listener.request_served(service, inbound, status, seconds)
