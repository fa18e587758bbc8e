"""A listener that hears nothing, and one that passes everything on to several."""

from __future__ import annotations

from dataclasses import dataclass

from meshlib.errors import ConfigError
from meshlib.model import Call, Endpoint, Verdict
from meshlib.observe.events import Inbound, Listener


class Quiet:
    """Hears nothing: a `Listener` to begin one's own with."""

    def attempt_finished(
        self, service: str, endpoint: Endpoint, verdict: Verdict, seconds: float
    ) -> None:
        """Do nothing."""

    def call_finished(self, call: Call, outcome: int | BaseException, seconds: float) -> None:
        """Do nothing."""

    def call_retried(self, call: Call, why: str) -> None:
        """Do nothing."""

    def call_hedged(self, call: Call, outcome: str) -> None:
        """Do nothing."""

    def call_mirrored(self, service: str, mirror: str, outcome: str) -> None:
        """Do nothing."""

    def blame_withheld(self, service: str, endpoint: Endpoint, why: str) -> None:
        """Do nothing."""

    def endpoint_moved(self, service: str, endpoint: Endpoint, before: str, after: str) -> None:
        """Do nothing."""

    def circuit_moved(self, service: str, method: str, before: str, after: str) -> None:
        """Do nothing."""

    def process_stalled(self, seconds: float) -> None:
        """Do nothing."""

    def document_refused(self, kind: str, name: str, error: ConfigError) -> None:
        """Do nothing."""

    def control_event(self, kind: str, subject: str, text: str) -> None:
        """Do nothing."""

    def request_served(self, service: str, inbound: Inbound, status: int, seconds: float) -> None:
        """Do nothing."""

    def request_refused(self, service: str, by: str, status: int) -> None:
        """Do nothing."""

    def request_denied(self, service: str, inbound: Inbound, rule: str, *, enforced: bool) -> None:
        """Do nothing."""

    def rates_counted(self, service: str, *, alone: bool) -> None:
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

    def call_retried(self, call: Call, why: str) -> None:
        """Tell all of them."""
        for listener in self.listeners:
            listener.call_retried(call, why)

    def call_hedged(self, call: Call, outcome: str) -> None:
        """Tell all of them."""
        for listener in self.listeners:
            listener.call_hedged(call, outcome)

    def call_mirrored(self, service: str, mirror: str, outcome: str) -> None:
        """Tell all of them."""
        for listener in self.listeners:
            listener.call_mirrored(service, mirror, outcome)

    def blame_withheld(self, service: str, endpoint: Endpoint, why: str) -> None:
        """Tell all of them."""
        for listener in self.listeners:
            listener.blame_withheld(service, endpoint, why)

    def endpoint_moved(self, service: str, endpoint: Endpoint, before: str, after: str) -> None:
        """Tell all of them."""
        for listener in self.listeners:
            listener.endpoint_moved(service, endpoint, before, after)

    def circuit_moved(self, service: str, method: str, before: str, after: str) -> None:
        """Tell all of them."""
        for listener in self.listeners:
            listener.circuit_moved(service, method, before, after)

    def process_stalled(self, seconds: float) -> None:
        """Tell all of them."""
        for listener in self.listeners:
            listener.process_stalled(seconds)

    def document_refused(self, kind: str, name: str, error: ConfigError) -> None:
        """Tell all of them."""
        for listener in self.listeners:
            listener.document_refused(kind, name, error)

    def control_event(self, kind: str, subject: str, text: str) -> None:
        """Tell all of them."""
        for listener in self.listeners:
            listener.control_event(kind, subject, text)

    def request_served(self, service: str, inbound: Inbound, status: int, seconds: float) -> None:
        """Tell all of them."""
        for listener in self.listeners:
            listener.request_served(service, inbound, status, seconds)

    def request_refused(self, service: str, by: str, status: int) -> None:
        """Tell all of them."""
        for listener in self.listeners:
            listener.request_refused(service, by, status)

    def request_denied(self, service: str, inbound: Inbound, rule: str, *, enforced: bool) -> None:
        """Tell all of them."""
        for listener in self.listeners:
            listener.request_denied(service, inbound, rule, enforced=enforced)

    def rates_counted(self, service: str, *, alone: bool) -> None:
        """Tell all of them."""
        for listener in self.listeners:
            listener.rates_counted(service, alone=alone)
