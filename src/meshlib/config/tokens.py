"""
Tokens of end users: who may have issued them, and how that is checked.

The words are those of Consul's `jwt-provider`.  Only signatures whose keys are public can be
chosen: with HS256 whoever can check a token could make one, and a verifier that takes both can be
talked into using a public RSA key as the secret (CVE-2016-5431).
"""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from meshlib.config.base import Config

ALGORITHMS = (
    *("ES256", "ES384", "ES512", "EdDSA"),
    *("PS256", "PS384", "PS512", "RS256", "RS384", "RS512"),
)
"""RFC 7518 section 3.1 and RFC 8037, without HMAC and `none`."""

_HEADER = re.compile(r"[0-9a-z-]+")


class JwtProviderConfig(Config, frozen=True):
    """One issuer of tokens."""

    issuer: str
    """What `iss` must say, to the letter."""
    audiences: tuple[str, ...]
    """One of them must be in `aud`: a token made for another service is none for this one."""
    jwks_file: str = ""
    """The issuer's public keys (RFC 7517) in a file, which is followed ..."""
    jwks_url: str = ""
    """... or at a URL: https, or http://SERVICE/PATH by mutual TLS through the mesh."""
    algorithms: tuple[str, ...] = ("ES256", "EdDSA", "PS256", "RS256")
    """What issuers use; others of `ALGORITHMS` must be asked for."""
    clock_skew: float = 30.0
    """Seconds the issuer's clock may differ: Consul's ClockSkewSeconds."""
    refresh: float = 300.0
    """Seconds between two looks at the URL: the CacheDuration of Consul, and of Envoy."""
    timeout: float = 5.0
    """Seconds for one of them."""
    header: str = "authorization"
    """Where the token is; in `authorization` as `Bearer TOKEN`, elsewhere by itself."""

    def __post_init__(self) -> None:
        self._check("issuer", expected="what the issuer calls itself", ok=bool(self.issuer))
        fine = bool(self.audiences) and all(self.audiences)
        self._check("audiences", expected="at least one name of this service", ok=fine)
        one = bool(self.jwks_file) is not bool(self.jwks_url)
        self._check("jwks_url", expected="a URL, or a jwks_file: one of the two", ok=one)
        if self.jwks_url:
            self._check("jwks_url", expected="https://..., or http://SERVICE/...", ok=self._fine())
        fine = bool(self.algorithms) and set(self.algorithms) <= set(ALGORITHMS)
        self._check("algorithms", expected=f"some of {', '.join(ALGORITHMS)}", ok=fine)
        self._at_least(0, "clock_skew")
        self._positive("refresh", "timeout")
        fine = _HEADER.fullmatch(self.header) is not None
        self._check("header", expected="the name of a header in lower case", ok=fine)

    def _fine(self) -> bool:
        try:
            parts = urlsplit(self.jwks_url)
            _ = parts.port
        except ValueError:
            return False
        return (
            parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
        )


class JwtConfig(Config, frozen=True):
    """Which tokens of end users a service takes.

    A token that is there is checked, and refused with 401 unless it is good.
    """

    providers: dict[str, JwtProviderConfig] = msgspec.field(default_factory=dict)
    """By the names that intentions call them."""
    required: Literal["never", "edge", "always"] = "never"
    """Of whom a token is asked besides that: of nobody (intentions may ask for one), of those who
    come by the edge listener, or of every caller."""

    def __post_init__(self) -> None:
        fine = self.required == "never" or bool(self.providers)
        self._check("required", expected="never, as there are no providers", ok=fine)
