"""How the endpoint of an attempt is chosen."""

from __future__ import annotations

import re
from importlib.util import find_spec

from meshlib.config.base import Config
from meshlib.errors import ConfigError

BALANCERS = (
    "least_request",
    "maglev",
    "peak_ewma",
    "random",
    "ring_hash",
    "round_robin",
)
"""What `balancer` may be."""

HASHING = frozenset({"maglev", "ring_hash"})
"""Balancers that send the same key to the same endpoint."""

MAX_RING = 8 * 1024 * 1024
"""Points a ring may have: Envoy's own limit."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110 section 5.6.2: what names of headers and cookies are made of."""

_PATH = re.compile(r"(/[^;\x00-\x20\x7f]*)?")
"""RFC 6265 section 4.1.1: what may stand behind `Path=`."""


class PeakEwmaConfig(Config, frozen=True):
    """What `peak_ewma` believes about an endpoint's latency."""

    decay: float = 10.0
    """Seconds after which a sample counts for 1/e: Finagle and Linkerd."""
    seed: float = 0.03
    """Seconds an endpoint nothing is known of is taken to need: Linkerd's default_rtt."""
    forced: float = 1.0
    """Seconds unpicked after which an endpoint is tried again: go-zero's forcePick."""
    penalty: float = 5.0
    """Seconds a failed attempt counts as, however fast it failed: Linkerd's load biaser ..."""
    max_penalty: float = 300.0
    """... or what its Retry-After asks for, up to this; also Linkerd."""

    def __post_init__(self) -> None:
        self._positive("decay", "seed", "forced")
        self._at_least(0, "penalty", "max_penalty")
        longest = f"at least penalty ({self.penalty:g})"
        self._check("max_penalty", expected=longest, ok=self.max_penalty >= self.penalty)


class SlowStartConfig(Config, frozen=True):
    """How the share of an endpoint that has just arrived grows to its whole weight."""

    window: float = 10.0
    """Seconds until it has its whole weight; 0 switches slow start off."""
    min_share: float = 0.1
    """The share of its weight it begins with: Envoy's min_weight_percent of 10 %."""
    aggression: float = 1.0
    """1 grows linearly, more grows faster at first: Envoy's aggression."""

    def __post_init__(self) -> None:
        self._at_least(0, "window")
        self._share("min_share")
        self._positive("aggression")


class HashKeyConfig(Config, frozen=True):
    """One place where the key of a call may stand: exactly one of the four.

    Envoy's `RouteAction.HashPolicy`, with the caller's identity where that has its address.
    """

    header: str = ""
    """The name of a header, compared without regard to case."""
    cookie: str = ""
    """The name of a cookie."""
    query: str = ""
    """The name of a query parameter."""
    source: bool = False
    """The identity on whose behalf the call is made (`Call.source`)."""
    ttl: float | None = None
    """Of a cookie: seconds for which one is set when the caller has none, 0 for its session.
    None: none is set."""
    path: str = ""
    """Of a cookie that is set: its path."""
    terminal: bool = False
    """Whether a key found here, or before, is enough; otherwise all that are found count."""

    def __post_init__(self) -> None:
        places = {name: getattr(self, name) for name in ("header", "cookie", "query", "source")}
        given = {name: value for name, value in places.items() if value}
        if len(given) != 1:
            raise ConfigError("", given, "exactly one of header, cookie, query and source")
        for field in {"header", "cookie"} & given.keys():
            fine = _TOKEN.fullmatch(given[field]) is not None
            self._check(field, expected="a name of letters, digits and -._~ only", ok=fine)
        if self.ttl is not None:
            self._at_least(0, "ttl")
        fine = self.ttl is None or self.is_cookie
        self._check("ttl", expected="nothing, without a cookie", ok=fine)
        fine = _PATH.fullmatch(self.path) is not None
        self._check("path", expected="a path that begins with /", ok=fine)

    @property
    def is_cookie(self) -> bool:
        """Whether the key stands in a cookie."""
        return bool(self.cookie)


class HashConfig(Config, frozen=True):
    """How `ring_hash` and `maglev` map keys to endpoints.

    Clients that share these settings, Envoys among them, map the same key to the same endpoint.
    """

    keys: tuple[HashKeyConfig, ...] = ()
    """Where the key of a call stands.  A call that has none goes to a random endpoint."""
    min_ring: int = 1024
    """Points the ring has at least: Envoy's minimum_ring_size ..."""
    max_ring: int = MAX_RING
    """... and at most: Envoy's maximum_ring_size, 8M."""
    table: int = 65537
    """Slots of maglev's table, a prime: Envoy's table_size."""
    balance_factor: int = 0
    """Percent of the mean load an endpoint may carry before its keys overflow to others: Envoy's
    hash_balance_factor, typically 120 to 200.  0: any load."""

    def __post_init__(self) -> None:
        self._check("min_ring", expected="an integer >= 1", ok=self.min_ring >= 1)
        bounds = f"an integer from min_ring ({self.min_ring}) to {MAX_RING}"
        self._check("max_ring", expected=bounds, ok=self.min_ring <= self.max_ring <= MAX_RING)
        self._check("table", expected="a prime from 2 to 5000011", ok=_is_table_size(self.table))
        factor = self.balance_factor
        self._check("balance_factor", expected="0, or an integer >= 100", ok=not 0 != factor < 100)


def check_hashing(balancer: str, hashing: HashConfig) -> None:
    """Raise ConfigError if `balancer` needs a key, or a package, that is not there."""
    if balancer not in HASHING:
        return
    if not hashing.keys:
        raise ConfigError("hashing.keys", [], f"at least one key, as the balancer is {balancer}")
    if find_spec("xxhash") is None:
        raise ConfigError(
            "balancer",
            balancer,
            "a balancer that needs no xxhash, which is not installed",
            hint="pip install 'meshlib[hash]'",
        )


def _is_table_size(size: int) -> bool:
    """Envoy's bounds; trial division, as the largest has a root of 2237."""
    if not 2 <= size <= 5_000_011:
        return False
    return all(size % divisor for divisor in range(2, int(size**0.5) + 1))
