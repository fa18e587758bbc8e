"""What a route does to the calls it takes, besides saying where they go."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import inf
from typing import TypeAlias

from meshlib.config import RetryConfig
from meshlib.config.routes import FallbackConfig, FaultConfig, MirrorConfig
from meshlib.policy.conditions import Conditions
from meshlib.route.answer import Direct, Redirect, Refusal
from meshlib.route.headers import NO_CHANGES, HeaderChanges, to_host
from meshlib.route.rewrite import Rewrite

Answer: TypeAlias = Direct | Redirect | Refusal


@dataclass(frozen=True, slots=True)
class Rules:
    """Everything here is off unless it is said.  Equal documents make equal rules."""

    timeout: float | None = None
    """Seconds a call may take, instead of the policy's; what the caller gave itself is stronger."""
    silence: float = inf
    """Seconds without a byte that end an attempt."""
    retry: RetryConfig | None = None
    """Instead of the policy's."""
    rewrite: Rewrite | None = None
    host: str = ""
    """The Host header to send; empty: as it is."""
    request: HeaderChanges = NO_CHANGES
    response: HeaderChanges = NO_CHANGES
    answer: Answer | None = field(default=None, hash=False)
    """Made here; nothing is sent."""
    mirrors: tuple[MirrorConfig, ...] = ()
    fault: FaultConfig | None = None
    fallback: FallbackConfig | None = field(default=None, hash=False)
    authority: HeaderChanges = field(init=False, repr=False, compare=False)
    """What `host` means."""
    conditions: Conditions | None = field(init=False, repr=False, compare=False)
    """What `retry` means, made once."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "authority", to_host(self.host))
        conditions = None if self.retry is None else Conditions(self.retry)
        object.__setattr__(self, "conditions", conditions)

    def completed(
        self,
        mirrors: tuple[MirrorConfig, ...],
        fault: FaultConfig | None,
        fallback: FallbackConfig | None,
    ) -> Rules:
        """The same with these three."""
        return replace(self, mirrors=mirrors, fault=fault, fallback=fallback)


NO_RULES = Rules()
