"""
`LoadBalancer` of a `service-resolver`, in Consul's form.

The fields and the rules about them are those of Consul's `agent/structs` (LoadBalancer, since 1.9).
Two things differ, as this is no Envoy: least request compares two endpoints, always; and where
Envoy hashes the address of its only client, `SourceIP` hashes on whose behalf a call is made.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from meshlib.config import HashConfig, UpstreamConfig
from meshlib.config.balance import HASHING, HashKeyConfig
from meshlib.control.decoding import Duration, Fields
from meshlib.control.mapping import pascal
from meshlib.errors import ConfigError

COMPARED = 2
"""Endpoints that least request looks at (`balance.least_request`); Envoy's default as well."""

_PLACES = {"header": "header", "cookie": "cookie", "query_parameter": "query"}
_RING = {"min_ring": "MinimumRingSize", "max_ring": "MaximumRingSize"}


class CookieConfig(Fields, frozen=True):
    """That a cookie is set for who has none."""

    session: bool = False
    """It ends with the client's session."""
    ttl: Duration = msgspec.field(default=Duration(0), name="TTL")
    path: str = ""

    def __post_init__(self) -> None:
        if self.session and self.ttl:
            raise ConfigError("TTL", float(self.ttl), "nothing beside Session")

    @property
    def seconds(self) -> float | None:
        """How long it is kept, 0 for the session; None: none is set, as in Consul."""
        return float(self.ttl) if self.session or self.ttl else None


class HashPolicy(Fields, frozen=True):
    """One place where the key of a call may stand."""

    field: Literal["", "header", "cookie", "query_parameter"] = ""
    field_value: str = ""
    """Its name."""
    cookie_config: CookieConfig | None = None
    source_ip: bool = msgspec.field(default=False, name="SourceIP")
    terminal: bool = False

    def __post_init__(self) -> None:
        if self.source_ip == bool(self.field):
            raise ConfigError("Field", self.field, "either a Field or SourceIP")
        if bool(self.field) != bool(self.field_value):
            expected = "the name of what is hashed, which goes with Field"
            raise ConfigError("FieldValue", self.field_value, expected)
        if self.cookie_config and self.field != "cookie":
            raise ConfigError("CookieConfig", self.field, "nothing, unless Field is cookie")
        self.key()

    def key(self) -> HashKeyConfig:
        """The same as a setting.  Raises ConfigError."""
        place: dict[str, Any] = (
            {"source": True} if self.source_ip else {_PLACES[self.field]: self.field_value}
        )
        cookie = self.cookie_config
        if cookie is not None:
            place |= {
                "ttl": cookie.seconds,
                "path": cookie.path if cookie.seconds is not None else "",
            }
        try:
            return HashKeyConfig(**place, terminal=self.terminal)
        except ConfigError as error:
            path = "CookieConfig.Path" if error.path == "path" else "FieldValue"
            expected = error.why.removeprefix("expected ")
            raise ConfigError(path, error.value, expected) from None


class RingHashConfig(Fields, frozen=True):
    """Points of the ring; zero is not said, as in Consul."""

    minimum_ring_size: int = 0
    maximum_ring_size: int = 0


class LeastRequestConfig(Fields, frozen=True):
    """How many endpoints are compared."""

    choice_count: int = 0

    def __post_init__(self) -> None:
        if self.choice_count not in {0, COMPARED}:
            hint = "more choices send everybody to the same idle endpoint; two are nearly as good"
            raise ConfigError("ChoiceCount", self.choice_count, f"{COMPARED}", hint=hint)


class LoadBalancer(Fields, frozen=True):
    """How the endpoint of an attempt is chosen."""

    policy: Literal["", "random", "round_robin", "least_request", "ring_hash", "maglev"] = ""
    """Empty: not said."""
    ring_hash_config: RingHashConfig | None = None
    least_request_config: LeastRequestConfig | None = None
    hash_policies: tuple[HashPolicy, ...] = ()

    def __post_init__(self) -> None:
        self._only_with("RingHashConfig", self.ring_hash_config, {"ring_hash"})
        self._only_with("LeastRequestConfig", self.least_request_config, {"least_request"})
        self._only_with("HashPolicies", self.hash_policies or None, HASHING)
        if self.policy in HASHING and not self.hash_policies:
            expected = f"at least one, as the policy is {self.policy}"
            raise ConfigError("HashPolicies", [], expected)
        self.applied(UpstreamConfig())

    def said(self) -> dict[str, Any]:
        """The settings that are given here, by the path a traffic-policy has for them."""
        given: dict[str, Any] = {"Balancer": self.policy, "Hashing.Keys": self._keys()}
        given |= {f"Hashing.{pascal(field)}": size for field, size in self._sizes().items()}
        return {path: value for path, value in given.items() if value}

    def applied(self, config: UpstreamConfig) -> UpstreamConfig:
        """`config`, with what is said here in the place of what it says.  Raises ConfigError."""
        if not self.policy:
            return config
        hashing = self._hashing(config.hashing)
        try:
            return msgspec.structs.replace(config, balancer=self.policy, hashing=hashing)
        except ConfigError as error:  # a package is missing
            expected = error.why.removeprefix("expected ")
            raise ConfigError("Policy", self.policy, expected, hint=error.hint) from None

    def _hashing(self, hashing: HashConfig) -> HashConfig:
        if self.policy not in HASHING:
            return hashing
        try:
            return msgspec.structs.replace(hashing, keys=self._keys(), **self._sizes())
        except ConfigError as error:
            path = f"RingHashConfig.{_RING.get(error.path, error.path)}"
            expected = error.why.removeprefix("expected ")
            for ours, theirs in _RING.items():
                expected = expected.replace(ours, theirs)
            raise ConfigError(path, error.value, expected) from None

    def _keys(self) -> tuple[HashKeyConfig, ...]:
        return tuple(policy.key() for policy in self.hash_policies)

    def _sizes(self) -> dict[str, int]:
        ring = self.ring_hash_config or RingHashConfig()
        sizes = {"min_ring": ring.minimum_ring_size, "max_ring": ring.maximum_ring_size}
        return {field: size for field, size in sizes.items() if size}

    def _only_with(self, field: str, given: object, policies: frozenset[str] | set[str]) -> None:
        if given is not None and self.policy not in policies:
            expected = f"nothing, unless Policy is {' or '.join(sorted(policies))}"
            raise ConfigError(field, self.policy, expected)
