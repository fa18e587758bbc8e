"""Send shares of a service's calls to its versions, by writing Consul's documents for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from meshlib.control.consul.chain import KIND as CHAIN
from meshlib.control.consul.chain import read_chain
from meshlib.control.documents import NotHttp, path_of
from meshlib.control.edit import Body, update
from meshlib.control.registry import ConfigSource, Document
from meshlib.errors import ConfigError


def set_split(config: ConfigSource, service: str, weights: Mapping[str, float]) -> None:
    """Give each version its percentage; versions get a subset of their name if they have none.

    Raises ConfigError for percentages that do not add up to 100, ControlError when others keep
    writing at the same time, RegistryUnavailable.
    """
    total = sum(weights.values())
    if abs(total - 100) > 0.005:
        raise ConfigError(f"split of {service}", total, "percentages that add up to 100")
    # The subsets first: a split to a subset that is not there yet would be refused.
    update(config, "service-resolver", service, lambda body: with_subsets(body, weights))
    try:
        update(config, "service-splitter", service, lambda body: with_splits(body, weights))
    except NotHttp:  # unless somebody wants it so, nobody has said what it speaks
        update(config, "service-defaults", service, lambda body: {"Protocol": "http", **body})
        update(config, "service-splitter", service, lambda body: with_splits(body, weights))


def with_subsets(body: Body, versions: Mapping[str, float]) -> Body:
    """A resolver with a subset for each of `versions`; those it has stay as they are."""
    made = {version: {"Filter": f'Service.Meta.version == "{version}"'} for version in versions}
    return {**body, "Subsets": {**made, **body.get("Subsets", {})}}


def with_splits(body: Body, weights: Mapping[str, float]) -> Body:
    """A splitter with one leg a version."""
    legs = [{"Weight": weight, "ServiceSubset": name} for name, weight in weights.items()]
    return {**body, "Splits": legs}


def split_in(documents: Iterable[Document]) -> dict[str, float]:
    """Percentages by subset, as a service's documents set them; empty when it is not split.

    The documents are those of a service, or the chain that Consul has compiled of them.
    """
    for each in documents:
        if each.kind == "service-splitter":
            legs = each.body.get("Splits", ())
            return {leg.get("ServiceSubset", ""): leg.get("Weight", 0) for leg in legs}
        if each.kind == CHAIN and _splits(each.body):
            chain = read_chain(each.body, path=path_of(CHAIN, each.name))
            return {leg.target.subset: round(leg.weight, 2) for leg in chain.rest}
    return {}


def _splits(chain: Body) -> bool:
    """Whether anything is split in it, which a service with one subset need not be."""
    return any(node.get("Type") == "splitter" for node in chain.get("Nodes", {}).values())
