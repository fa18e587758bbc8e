"""How endpoints are chosen, connected to and given up on."""

from __future__ import annotations

from meshlib.config.base import Config

BALANCERS = ("least_request", "round_robin")
"""What `balancer` may be."""


class BreakerConfig(Config, frozen=True):
    """The breaker of one endpoint."""

    failures: int = 5
    """Failures in a row that open it: Envoy's consecutive_5xx, Finagle's failure accrual."""
    cooldown: float = 1.0
    """Seconds the first opening lasts: Linkerd's min penalty ..."""
    max_cooldown: float = 60.0
    """... doubled by each failed probe up to Linkerd's max penalty."""
    jitter: float = 0.5
    """Share of the cooldown added at random: Linkerd's jitter ratio."""
    lease: float = 30.0
    """Seconds after which a probe that never reported is given up: Resilience4j's lesson."""

    def __post_init__(self) -> None:
        self._check("failures", expected="an integer >= 1", ok=self.failures >= 1)
        self._positive("cooldown", "max_cooldown", "lease")
        longest = f"at least cooldown ({self.cooldown:g})"
        self._check("max_cooldown", expected=longest, ok=self.max_cooldown >= self.cooldown)
        self._share("jitter")


class ConnectConfig(Config, frozen=True):
    """Connections to the endpoints of one upstream."""

    timeout: float = 1.0
    """Seconds for TCP and the TLS handshake together: Linkerd's outbound connect timeout."""
    idle: float = 20.0
    """Seconds an idle connection is kept; below every meshlib server's 60 s, so that a request
    never meets a connection its server is just closing (Linkerd, keep-alive race)."""

    def __post_init__(self) -> None:
        self._positive("timeout", "idle")
