"""Send shares of a service's calls to its versions, by writing Consul's two documents for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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
    """Percentages by subset, as a service's documents set them; empty when it is not split."""
    splitters = (each.body for each in documents if each.kind == "service-splitter")
    legs = next(splitters, {}).get("Splits", ())
    return {leg.get("ServiceSubset", ""): leg.get("Weight", 0) for leg in legs}
