"""What only Consul has: documents of the embedded control plane cannot speak of it."""

from __future__ import annotations

from collections.abc import Iterator

from meshlib.control.resolver import ServiceResolver
from meshlib.errors import ConfigError
from meshlib.route.filter import compile_filter


def check_here(resolver: ServiceResolver, *, path: str) -> None:
    """Raise ConfigError for another datacentre, or a filter on what no endpoint here carries."""
    for field, datacenter in _datacenters(resolver):
        if datacenter:
            hint = "leave it out: the services of one control plane are all in one place"
            expected = "no datacenter, as there is but one"
            raise ConfigError(f"{path}.{field}", datacenter, expected, hint=hint)
    for name, subset in resolver.subsets.items():
        compile_filter(subset.filter, local=True, path=f"{path}.Subsets.{name}.Filter")


def _datacenters(resolver: ServiceResolver) -> Iterator[tuple[str, str]]:
    if resolver.redirect:
        yield "Redirect.Datacenter", resolver.redirect.datacenter
    for subset, failover in resolver.failover.items():
        path = f"Failover.{subset}"
        for number, datacenter in enumerate(failover.datacenters):
            yield f"{path}.Datacenters[{number}]", datacenter
        for number, target in enumerate(failover.targets):
            yield f"{path}.Targets[{number}].Datacenter", target.datacenter
