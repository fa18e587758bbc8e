"""
What a token of an end user has to say (RFC 7519, with RFC 8725's advice).  Pure.

The signature is checked first (`trust.keyset`), so that all that is read here was written by the
issuer: it must be meant for this service, and it must hold now.  A token without an end would be
good for ever, and is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshlib.config import JwtProviderConfig
from meshlib.trust.keyset import BadToken, KeySet, parse_json, part_of

_FOREVER = 1e12
"""Unix time in 31,000 years."""


def issuer_of(token: str) -> object:
    """Who it says has issued it, which nothing proves.  Raises BadToken."""
    return part_of(token, 1).get("iss")


def proven(
    token: str, keys: KeySet, provider: JwtProviderConfig, now_unix: float
) -> dict[str, Any]:
    """What the token says, if it is good now.  Raises BadToken."""
    payload = keys.payload(token, provider.algorithms)
    try:
        # anew for each request: nobody can change what the next one is told
        claims = parse_json(payload)
    except (ValueError, RecursionError) as exc:
        raise BadToken("what it says cannot be read") from exc
    check_claims(claims, provider, now_unix)
    return claims


def check_claims(claims: Mapping[str, Any], provider: JwtProviderConfig, now_unix: float) -> None:
    """Raise BadToken unless these are claims of this issuer, for us, and for now."""
    if claims.get("iss") != provider.issuer:
        raise BadToken("it is of another issuer")
    if not _audiences(claims.get("aud")).intersection(provider.audiences):
        raise BadToken("it is not for this service")
    skew = provider.clock_skew
    if now_unix >= _moment(claims, "exp") + skew:
        raise BadToken("it has expired")
    for name in ("nbf", "iat"):
        if name in claims and now_unix < _moment(claims, name) - skew:
            raise BadToken("it is not valid yet")


def _audiences(said: object) -> frozenset[str]:
    listed = said if isinstance(said, list) else [said]
    return frozenset(each for each in listed if isinstance(each, str))


def _moment(claims: Mapping[str, Any], name: str) -> float:
    found: Any = claims.get(name)
    # True is an int in Python; and neither infinity nor an int without end is a moment
    number = isinstance(found, int | float) and not isinstance(found, bool)
    if not (number and abs(found) < _FOREVER):
        raise BadToken(f"its {name} is no time")
    return float(found)
