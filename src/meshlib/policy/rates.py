"""Which quotas a served request draws on."""

from __future__ import annotations

from typing import NamedTuple

from meshlib.config import QuotaConfig, RatesConfig, RouteQuotaConfig
from meshlib.policy.limiter import Asked, Meter, OverLimit, RateLimiter
from meshlib.runtime import Clock


class Visitor(NamedTuple):
    """What a rate limit looks at."""

    caller: str
    """Its proven identity; on the edge its address."""
    service: str
    """The service of that identity, or the empty string."""
    method: str
    path: str


class Rates:
    """The meters of one `RatesConfig`.

    Meters are kept under their names, so that another configuration finds them as they were.
    `share` is the part of each quota that is this process's.
    """

    def __init__(self, clock: Clock, config: RatesConfig, *, share: float = 1.0) -> None:
        self._clock = clock
        self._limiter = RateLimiter(clock)
        self._meters: dict[str, Meter] = {}
        self._share = share
        self.configure(config)

    def configure(self, config: RatesConfig, *, share: float | None = None) -> None:
        """Use other quotas from now on; what was counted stays counted."""
        self._share = self._share if share is None else share
        with self._limiter.lock:
            old, self._meters = self._meters, {}
            keys = config.max_keys
            self._total = self._meter(old, "total", config.total)
            self._each = self._meter(old, "caller", config.per_caller, keys)
            self._some = {
                service: self._meter(old, f"caller-{service}", quota, keys)
                for service, quota in config.callers.items()
            }
            self._routes = [(r, self._meter(old, _name(r), r)) for r in config.routes]

    def _meter(
        self, old: dict[str, Meter], name: str, quota: QuotaConfig | None, keys: int = 1
    ) -> Meter | None:
        if quota is None:
            return None
        meter = old.get(name)
        if meter is None:
            meter = Meter(name, quota, max_keys=keys, share=self._share)
        else:
            meter.configure(quota, self._clock(), share=self._share, max_keys=keys)
        self._meters[name] = meter
        return meter

    def asked(self, visitor: Visitor) -> Asked:
        """The meters this visitor draws on."""
        asked: list[tuple[Meter, str]] = []
        each = self._some.get(visitor.service, self._each) if self._some else self._each
        if each is not None:
            asked.append((each, visitor.caller))
        for route, meter in self._routes:
            if meter is not None and _matches(route, visitor):
                asked.append((meter, ""))
                break
        if self._total is not None:
            asked.append((self._total, ""))
        return asked

    def take(self, visitor: Visitor) -> OverLimit | None:
        """Count a request, or refuse it."""
        return self._limiter.take(self.asked(visitor))

    def __repr__(self) -> str:
        return f"<Rates {', '.join(map(repr, self._meters.values()))}>"


def _name(route: RouteQuotaConfig) -> str:
    """Fit for a header: quotes and backslashes are escaped nowhere, so they are not let in."""
    name = f"{route.method} {route.path}".strip()
    return "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else "_" for c in name)


def _matches(route: RouteQuotaConfig, visitor: Visitor) -> bool:
    if route.method and route.method != visitor.method:
        return False
    prefix = route.path.rstrip("/")
    return not prefix or visitor.path == prefix or visitor.path.startswith(prefix + "/")
