"""How endpoints are connected to and given up on."""

from __future__ import annotations

import re

from meshlib.config.base import Config
from meshlib.errors import ConfigError

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110 section 5.6.2: what names of headers and cookies are made of."""

_COOKIE_PATH = re.compile(r"(/[^;\x00-\x20\x7f]*)?")
"""RFC 6265 section 4.1.1: what may stand behind `Path=`."""


class OutlierConfig(Config, frozen=True):
    """When an endpoint is taken out of the draw, for how long, and how many may be at a time."""

    connect_failures: int = 5
    """Connections in a row that did not come about: Finagle's failure accrual ..."""
    failures: int = 7
    """... and failures in a row of any kind: Linkerd's consecutive-failure accrual."""
    success_rate: float = 0.8
    """Below this share of successes it is taken out as well: Finagle, Linkerd; 0: never."""
    requests: int = 5
    """Fewer than this in `window` make no rate: both again, and Envoy's minimum of hosts."""
    window: float = 10.0
    """Seconds that the rate looks back: Linkerd."""
    cooldown: float = 1.0
    """Seconds it is left alone the first time: Linkerd's min penalty ..."""
    max_cooldown: float = 60.0
    """... doubled by each failed probe up to Linkerd's max penalty."""
    jitter: float = 0.5
    """Share of the cooldown added at random: Linkerd's jitter ratio."""
    lease: float = 30.0
    """Seconds after which a probe that never reported is given up: Resilience4j's lesson."""
    max_ejected: float = 0.5
    """Share of the endpoints that may be out at a time, rounded down, and never the last one.
    Envoy's 10 % protects large sets and makes outlier detection inert in small ones."""
    min_endpoints: int = 3
    """Of fewer none is taken out: a failing one is drawn less (Finagle turns FailFast off for
    one, Envoy's max_ejection_percent keeps both of two)."""
    bias: float = 0.1
    """Share of its weight with which a failing endpoint that stays in is drawn: Envoy's least
    slow-start weight, for the same purpose - enough to learn from, too little to hurt."""
    panic: float = 0.5
    """With fewer than this share of the endpoints well, the view is doubted and all that answer
    are drawn from: Envoy's panic threshold; 0: never.  Off for three endpoints or fewer."""
    stall: float = 0.5
    """Share of a timed-out attempt for which this process itself stood still, from which on the
    endpoint is not blamed; 0: it always is."""
    poison: float = 30.0
    """Seconds for which a request that failed at two endpoints, and succeeded at none, is blamed
    itself; 0: never."""

    def __post_init__(self) -> None:
        for field in ("connect_failures", "failures", "requests", "min_endpoints"):
            self._check(field, expected="an integer >= 1", ok=getattr(self, field) >= 1)
        self._positive("window", "cooldown", "max_cooldown", "lease")
        longest = f"at least cooldown ({self.cooldown:g})"
        self._check("max_cooldown", expected=longest, ok=self.max_cooldown >= self.cooldown)
        self._share("success_rate", "jitter", "max_ejected", "bias", "panic", "stall")
        self._at_least(0, "poison")


LOCALITY_MODES = ("failover", "off", "zone_aware")
"""What `LocalityConfig.mode` may be."""


class LocalityConfig(Config, frozen=True):
    """Whether near endpoints are preferred: those of the caller's own zone, then of its region.

    Without a zone or a region of its own a caller has nothing near, and prefers nobody.
    """

    mode: str = "zone_aware"
    """`zone_aware`: a zone is sent no more than its share of the capacity can take, so that a
    small one is not overrun by its own callers.  `failover`: all that a level's health lets it
    take.  `off`: no preference.  Envoy's zone-aware routing is on by default as well."""
    overprovisioning: float = 1.4
    """How much more than its share a level can take: Envoy's overprovisioning factor.  A level
    overflows once fewer than 1/1.4 = 72 % of its endpoints are well."""
    min_endpoints: int = 6
    """Fewer are too few to be parted by zones: Envoy's min_cluster_size.  Not for `failover`."""

    def __post_init__(self) -> None:
        modes = f"one of {', '.join(LOCALITY_MODES)}"
        self._check("mode", expected=modes, ok=self.mode in LOCALITY_MODES)
        self._at_least(1, "overprovisioning")
        fine = self.min_endpoints >= 1
        self._check("min_endpoints", expected="an integer >= 1", ok=fine)


class SessionConfig(Config, frozen=True):
    """Where a call carries the name of the endpoint that served its session: one of the two.

    Envoy's stateful session and gRPC's A55; theirs carries the address, ours a hash that tells
    nobody where the endpoint is.
    """

    cookie: str = ""
    """A cookie's name; it is set on the reply."""
    header: str = ""
    """A header's name; it stands on the reply, and the caller brings it back."""
    ttl: float = 0.0
    """Seconds the cookie is kept; 0: until the browser is closed."""
    path: str = "/"
    """The path the cookie is for."""
    strict: bool = False
    """Whether a call fails when its endpoint is gone, instead of going to another one."""

    def __post_init__(self) -> None:
        names = {"cookie": self.cookie, "header": self.header}
        given = [field for field, name in names.items() if name]
        if len(given) != 1:
            raise ConfigError("", names, "either a cookie or a header")
        fine = _TOKEN.fullmatch(names[given[0]]) is not None
        self._check(given[0], expected="a name of letters, digits and -._~ only", ok=fine)
        self._at_least(0, "ttl")
        fine = _COOKIE_PATH.fullmatch(self.path) is not None
        self._check("path", expected="a path that begins with /", ok=fine)


class ConnectConfig(Config, frozen=True):
    """Connections to the endpoints of one upstream."""

    timeout: float = 1.0
    """Seconds for TCP and the TLS handshake together: Linkerd's outbound connect timeout."""
    idle: float = 20.0
    """Seconds an idle connection is kept; below every meshlib server's 60 s, so that a request
    never meets a connection its server is just closing (Linkerd, keep-alive race)."""
    spiffe_id: str = ""
    """What every instance must prove, in any datacentre: for services of another trust domain.
    Empty: the id of a service next to this one, as whoever issues our identity makes them."""

    def __post_init__(self) -> None:
        self._positive("timeout", "idle")
