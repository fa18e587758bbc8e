"""
Everything meshlib raises on purpose.

    MeshError
      ConfigError                 also a ValueError: .path and .value of the bad field
      ControlError
        RegistryUnavailable       discovery or configuration could not be asked
        IdentityUnavailable       no certificate, or no trust, to speak with
      CallError                   a call that did not finish: .service .method .path .attempts
        NoRoute                   nothing by that name
        NoEndpoint                a service without an endpoint that may be used: .resolution
        Rejected                  refused before sending: .by rate, concurrency, breaker, budget
        Denied                    refused by an intention: .intention
        DeadlineExceeded          the time was up: .elapsed
        AttemptFailed             the wire failed: .endpoint, .sent (may the peer have seen it?)
          ConnectFailed           no connection; never sent
          PeerNotTrusted          a connection to somebody else; never sent
          Interrupted             broken after it was sent

An HTTP status from the peer is a reply, not an exception.  Each message has up to three lines:
what happened, why, and what to try.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshlib.model import Call, Endpoint, Resolution


class MeshError(Exception):
    """Base of everything raised on purpose."""

    def __init__(self, what: str, *, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what, self.why, self.hint = what, why, hint

    def __str__(self) -> str:
        lines = [self.what]
        if self.why:
            lines.append(f"  why:  {self.why}")
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


class ConfigError(MeshError, ValueError):
    """A setting or a document that cannot be used."""

    def __init__(self, path: str, value: object, expected: str, *, hint: str = "") -> None:
        super().__init__(f"{path}: {value!r} is not usable", why=f"expected {expected}", hint=hint)
        self.path, self.value = path, value


class ControlError(MeshError):
    """The control plane could not do what was asked of it."""


class RegistryUnavailable(ControlError):
    """Discovery or configuration could not be read or written."""


class IdentityUnavailable(ControlError):
    """There is no certificate to show, or no bundle to check one against."""


class CallError(MeshError):
    """A call did not finish.  The observe layer fills in which one."""

    service: str = ""
    method: str = ""
    path: str = ""
    attempts: int = 0

    def of(self, call: Call) -> None:
        """Say which call this was; the outermost layer does so once."""
        self.service, self.method, self.path = call.service, call.method, call.path
        self.attempts = call.attempts


class NoRoute(CallError):
    """There is nothing by that name to send to."""


class NoEndpoint(CallError):
    """The service is known, but none of its endpoints may be used."""

    def __init__(
        self, what: str, *, resolution: Resolution | None = None, why: str = "", hint: str = ""
    ) -> None:
        super().__init__(what, why=why, hint=hint)
        self.resolution = resolution


class Rejected(CallError):
    """Refused by this process before anything was sent."""

    def __init__(self, what: str, *, by: str, why: str = "", hint: str = "") -> None:
        super().__init__(what, why=why, hint=hint)
        self.by = by


class Denied(CallError):
    """Refused by an intention."""

    def __init__(self, what: str, *, intention: str = "", why: str = "", hint: str = "") -> None:
        super().__init__(what, why=why, hint=hint)
        self.intention = intention


class DeadlineExceeded(CallError):
    """The deadline passed first."""

    def __init__(self, what: str, *, elapsed: float = 0.0, why: str = "", hint: str = "") -> None:
        super().__init__(what, why=why, hint=hint)
        self.elapsed = elapsed


class AttemptFailed(CallError):
    """One attempt failed on the wire."""

    sent: bool = True

    def __init__(
        self,
        what: str,
        *,
        endpoint: Endpoint | None = None,
        timed_out: bool = False,
        why: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(what, why=why, hint=hint)
        self.endpoint = endpoint
        self.timed_out = timed_out


class ConnectFailed(AttemptFailed):
    """No connection came about, so nothing was sent."""

    sent = False


class PeerNotTrusted(AttemptFailed):
    """The peer is not who it should be; nothing was sent."""

    sent = False


class Interrupted(AttemptFailed):
    """The connection broke, or fell silent, after the request was sent."""
