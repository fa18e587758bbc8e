"""How a traffic policy says where attempts go: the mirror images of `meshlib.config.balance`."""

from __future__ import annotations

from meshlib.control.decoding import Duration, Fields


class PeakEwmaPolicy(Fields, frozen=True):
    """`config.PeakEwmaConfig`."""

    decay: Duration | None = None
    seed: Duration | None = None
    forced: Duration | None = None
    penalty: Duration | None = None
    max_penalty: Duration | None = None


class SlowStartPolicy(Fields, frozen=True):
    """`config.SlowStartConfig`."""

    window: Duration | None = None
    min_share: float | None = None
    aggression: float | None = None


class HashKeyPolicy(Fields, frozen=True):
    """`config.HashKeyConfig`."""

    header: str | None = None
    cookie: str | None = None
    query: str | None = None
    source: bool | None = None
    ttl: Duration | None = None
    path: str | None = None
    terminal: bool | None = None


class HashPolicy(Fields, frozen=True):
    """`config.HashConfig`."""

    keys: tuple[HashKeyPolicy, ...] | None = None
    min_ring: int | None = None
    max_ring: int | None = None
    table: int | None = None
    balance_factor: int | None = None
