"""
Tokens of end users, checked for every request, whoever brings it.

A service that has been called shows who is behind it all: `scope["state"]["mesh_claims"]`, or
`environ["mesh.claims"]`, are what the token says, by the name of the provider that issued it; and
intentions may ask for claims.  A token that is there and not good is 401, also where none is asked
for; while the issuer's keys are not known it is 503, for it may be good.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from meshlib.config import JwtConfig, JwtProviderConfig, ServingConfig
from meshlib.errors import ConfigError
from meshlib.runtime import Clock
from meshlib.serve.admission import Refusal
from meshlib.trust.permission import NO_CLAIMS, Claims
from meshlib.watch import Watch

if TYPE_CHECKING:
    from meshlib.trust.keyset import KeySet

log = logging.getLogger("meshlib.jwt")

CHALLENGE = ("www-authenticate", "Bearer")
INVALID = ("www-authenticate", 'Bearer error="invalid_token"')
"""RFC 6750 section 3."""

MISSING = Refusal(401, "a token of the end user is asked for", (CHALLENGE,))
_NOT_YET = Refusal(503, "the settings of this service are not known yet")
_NO_KEYS = Refusal(503, "the keys of the token's issuer are not known at the moment")


class KeySource(Protocol):
    """Where the keys of issuers come from."""

    def keys(self, provider: JwtProviderConfig) -> Watch[KeySet | None]:
        """Those of a provider, followed.  Raises ConfigError when they cannot be."""

    def unknown_key(self, provider: JwtProviderConfig) -> None:
        """A token was signed with a key that is not among them."""

    def close(self) -> None:
        """Follow none any more."""


SCHEME = "bearer"


class _Provider(NamedTuple):
    name: str
    config: JwtProviderConfig
    keys: Watch[KeySet | None]


class _Rules:
    """One configuration, ready to be applied.  Raises ConfigError when it cannot be."""

    def __init__(self, config: JwtConfig, source: KeySource, unix: Clock) -> None:
        self._source, self._unix = source, unix
        self._by_header: dict[str, list[_Provider]] = {}
        for name, provider in config.providers.items():
            found = _Provider(name, provider, source.keys(provider))
            self._by_header.setdefault(provider.header, []).append(found)

    def check(self, header: Callable[[str], str | None]) -> Claims | Refusal:
        """What the tokens of a request say, or why they are refused."""
        claims: dict[str, Mapping[str, Any]] = {}
        for name, providers in self._by_header.items():
            token = token_in(header(name), name)
            if token is not None:
                found = self._of_one(token, providers)
                if isinstance(found, Refusal):
                    return found
                claims |= found
        return claims

    def _of_one(self, token: str, providers: list[_Provider]) -> Claims | Refusal:
        from meshlib.trust.jwt import issuer_of, proven  # noqa: PLC0415 - an extra
        from meshlib.trust.keyset import BadToken, UnknownKey  # noqa: PLC0415

        claims: dict[str, Mapping[str, Any]] = {}
        refusal: Refusal | None = None
        try:
            issuer = issuer_of(token)
        except BadToken as exc:
            return invalid(str(exc))
        for name, config, watch in providers:
            if config.issuer != issuer:
                continue
            keys = watch.value
            if keys is None:
                refusal = _NO_KEYS
                continue
            try:
                claims[name] = proven(token, keys, config, self._unix())
            except BadToken as exc:
                if isinstance(exc, UnknownKey):
                    self._source.unknown_key(config)
                refusal = invalid(str(exc))
        # one provider that vouches is enough: others of the same issuer are for other audiences
        return claims or refusal or invalid("it is of another issuer")


class _Unusable:
    """A configuration that cannot be applied: no token is taken, and none is overlooked."""

    def __init__(self, config: JwtConfig) -> None:
        self._headers = {provider.header for provider in config.providers.values()}

    def check(self, header: Callable[[str], str | None]) -> Claims | Refusal:
        found = any(token_in(header(name), name) is not None for name in self._headers)
        return _NO_KEYS if found else {}


class Tokens:
    """Checks by the configuration known now."""

    def __init__(
        self,
        config: Watch[ServingConfig],
        source: Callable[[], KeySource],
        unix: Clock = time.time,
    ) -> None:
        self._make, self._unix, self._config = source, unix, config
        self._made: KeySource | None = None
        self._rules = config.map(self._compiled)

    def claims(self, header: Callable[[str], str | None], *, edge: bool) -> Claims | Refusal:
        """What the end user's tokens say, or the answer to a request whose tokens are refused.

        `header` gives the value of a header by its lower-case name, all of one name joined.
        """
        state = self._rules.value
        if state is None:
            return NO_CLAIMS if self._config.ready else _NOT_YET
        config, rules = state
        found = rules.check(header)
        if found or isinstance(found, Refusal) or config.required == "never":
            return found
        return MISSING if edge or config.required == "always" else found

    def close(self) -> None:
        """Follow no keys any more."""
        if self._made is not None:
            self._made.close()

    def _compiled(self, config: ServingConfig) -> tuple[JwtConfig, _Rules | _Unusable] | None:
        if config.jwt is None:
            return None
        try:
            self._made = self._made or self._make()
            return config.jwt, _Rules(config.jwt, self._made, self._unix)
        except ConfigError as exc:
            log.error("tokens of end users cannot be checked: %s", exc)  # noqa: TRY400
            return config.jwt, _Unusable(config.jwt)


def invalid(why: str) -> Refusal:
    """The answer to a token that is not good."""
    return Refusal(401, f"the token of the end user is not taken: {why}", (INVALID,))


def token_in(value: str | None, header: str) -> str | None:
    """The token in the value of a header; None: there is none.

    Several headers of one name arrive joined by commas, which no token contains.
    """
    if value is None or header != "authorization":
        return value
    scheme, _, rest = value.strip().partition(" ")
    return rest.strip() if scheme.lower() == SCHEME else None
