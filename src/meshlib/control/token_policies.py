"""The part of a `traffic-policy` about tokens: `meshlib.config.tokens`, as documents spell it."""

from __future__ import annotations

from typing import Literal

from meshlib.control.decoding import Duration, Fields


class JwtProviderPolicy(Fields, frozen=True):
    """`config.JwtProviderConfig`."""

    issuer: str
    audiences: tuple[str, ...]
    jwks_file: str | None = None
    jwks_url: str | None = None
    algorithms: tuple[str, ...] | None = None
    clock_skew: Duration | None = None
    refresh: Duration | None = None
    timeout: Duration | None = None
    header: str | None = None


class JwtPolicy(Fields, frozen=True):
    """`config.JwtConfig`."""

    providers: dict[str, JwtProviderPolicy] | None = None
    required: Literal["never", "edge", "always"] | None = None
