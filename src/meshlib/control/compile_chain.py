"""
From a discovery chain that Consul has compiled to the plan that the stack follows.  Pure.

Beside the chain stand the service's own `service-resolver`, as a chain has only those subsets that
somebody is led to, and its `traffic-policy`, which Consul knows nothing of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from meshlib.config import RetryConfig
from meshlib.control.consul.chain import KIND, REFUSED, Chain, read_chain
from meshlib.control.documents import path_of
from meshlib.control.effective import effective
from meshlib.control.plan import Entries, Others, ServicePlan, no_others
from meshlib.control.registry import Document
from meshlib.control.resolver import ServiceResolver, one_of
from meshlib.control.routes import NOBODY, Caller, TableMaker
from meshlib.control.traffic_policy import TrafficPolicy
from meshlib.errors import ConfigError
from meshlib.model import Target
from meshlib.route.answer import Refusal
from meshlib.route.filter import Filter, compile_filter
from meshlib.route.rules import Rules
from meshlib.route.split import Split, whole
from meshlib.route.table import single


def is_compiled(documents: Iterable[Document]) -> bool:
    """Whether there is a chain among them."""
    return any(document.kind == KIND for document in documents)


def chain_plan(
    service: str,
    documents: tuple[Document, ...],
    caller: Caller = NOBODY,
    *,
    retry: RetryConfig | None = None,
    others: Others = no_others,
) -> ServicePlan:
    """As `compile_plan`, for documents with a chain among them."""
    (body,) = (document.body for document in documents if document.kind == KIND)
    if why := body.get(REFUSED):
        return _refused(service, str(why))
    chain = read_chain(body, path=path_of(KIND, service))
    entries = Entries(service, (each for each in documents if each.kind != KIND), consul=True)
    resolver = entries.find(ServiceResolver) or chain.resolver
    policy = entries.find(TrafficPolicy) or TrafficPolicy()
    config, sticky = effective(service, policy, resolver), policy.stickiness()
    subsets = _subsets(chain, resolver)

    def own(target: Target, path: str) -> Target:
        if target.subset not in subsets:
            raise ConfigError(path, target.subset, one_of(subsets))
        return target

    def elsewhere(target: Target, path: str) -> Split:
        del path
        found = None if target.subset else _chain(target.service, others(target.service))
        return Split(found.rest, sticky) if found else whole(target)

    maker = TableMaker(
        service,
        Split(chain.rest, sticky),
        own,
        elsewhere,
        policy,
        retry or config.retry,
        caller,
    )
    routes = [(said, Split(legs, sticky)) for said, legs in chain.routes]
    return ServicePlan(
        service,
        maker.table(None, routes),
        config,
        subsets,
        sticky=sticky,
        protocol=chain.protocol,
        serving=policy.served(),
        detours=chain.failover,
        foreign=MappingProxyType({k: v for k, v in chain.subsets.items() if k != service}),
    )


def _chain(service: str, documents: tuple[Document, ...]) -> Chain | None:
    for each in documents:
        if each.kind == KIND and REFUSED not in each.body:
            return read_chain(each.body, path=path_of(KIND, service))
    return None


def _subsets(chain: Chain, resolver: ServiceResolver) -> Mapping[str, Filter]:
    said = {
        name: compile_filter(it.filter, only_passing=it.only_passing)
        for name, it in resolver.subsets.items()
    }
    return MappingProxyType({**chain.subsets.get(chain.service, {}), **said})


def _refused(service: str, why: str) -> ServicePlan:
    """Every call is refused, and told why."""
    what = f"where calls to {service!r} go cannot be read"
    refusal = Refusal(what, why, "see the log of meshlib.control")
    return ServicePlan(service, single(whole(Target(service)), Rules(answer=refusal)))
