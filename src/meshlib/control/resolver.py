"""`service-resolver` in Consul's form: subsets of a service, and where else its calls may go."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import msgspec

from meshlib.control.decoding import Duration, Fields
from meshlib.control.entry import Entry
from meshlib.control.load_balancer import LoadBalancer
from meshlib.errors import ConfigError
from meshlib.route.filter import compile_filter

_SUBSET_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
"""A DNS label, as Consul wants it: the name becomes a part of the SNI."""


class ResolverSubset(Fields, frozen=True):
    """The endpoints that a filter keeps."""

    filter: str = ""
    """Consul's filter language; empty keeps all."""
    only_passing: bool = False
    """Whether endpoints with a warning are left out too."""

    def __post_init__(self) -> None:
        compile_filter(self.filter)


class ResolverRedirect(Fields, frozen=True):
    """Another service in place of this one."""

    service: str = ""
    """Empty: this one, another subset of it."""
    service_subset: str = ""
    datacenter: str = ""
    """Only Consul has others."""


class FailoverTarget(ResolverRedirect, frozen=True):
    """Where to go when there is nobody."""


class ResolverFailover(Fields, frozen=True):
    """A list of targets, tried in order; or, in Consul's older form, one of them."""

    service: str = ""
    service_subset: str = ""
    datacenters: tuple[str, ...] = ()
    targets: tuple[FailoverTarget, ...] = ()

    def __post_init__(self) -> None:
        one = self.service or self.service_subset or self.datacenters
        if bool(one) == bool(self.targets):
            expected = "a list of targets, or a service or subset"
            raise ConfigError("Targets", len(self.targets), expected)

    def listed(self) -> tuple[FailoverTarget, ...]:
        """The targets."""
        one = FailoverTarget(service=self.service, service_subset=self.service_subset)
        return self.targets or (one,)


class ServiceResolver(Entry, frozen=True):
    """Which subsets a service has, and how it is reached."""

    default_subset: str = ""
    subsets: dict[str, ResolverSubset] = msgspec.field(default_factory=dict)
    connect_timeout: Duration = Duration(0)
    """Zero, as in Consul: not said."""
    request_timeout: Duration = Duration(0)
    """Zero, as in Consul: not said."""
    redirect: ResolverRedirect | None = None
    """Excludes everything else, as in Consul."""
    failover: dict[str, ResolverFailover] = msgspec.field(default_factory=dict)
    """By subset; `*` is for all that are not named."""
    load_balancer: LoadBalancer | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_redirect()
        for name in self.failover:
            if name not in {"*", *self.subsets}:
                raise ConfigError(f"Failover.{name}", name, f"`*` or {one_of(self.subsets)}")
        for name in self.subsets:
            if not _SUBSET_NAME.fullmatch(name):
                label = "1 to 63 of a-z, 0-9 and -, which neither begins nor ends it"
                raise ConfigError(f"Subsets.{name}", name, label)
        if self.default_subset and self.default_subset not in self.subsets:
            raise ConfigError("DefaultSubset", self.default_subset, one_of(self.subsets))

    def _check_redirect(self) -> None:
        if self.redirect is None:
            return
        to = self.redirect
        if not (to.service or to.service_subset or to.datacenter):
            raise ConfigError("Redirect", "", "a service to go to")
        others: dict[str, Collection[str]] = {"Subsets": self.subsets, "Failover": self.failover}
        for field, names in others.items():
            if names:
                raise ConfigError(field, list(names), "nothing beside a Redirect")


def one_of(names: Mapping[str, object]) -> str:
    """What would be right, when only these names are."""
    return f"one of {', '.join(sorted(names))}" if names else "none, as none is defined"
