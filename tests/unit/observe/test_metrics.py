"""Which event moves which metric."""

from __future__ import annotations

import asyncio
import random

import pytest

from meshlib import Metrics
from meshlib.config import BudgetConfig, RetryConfig, UpstreamConfig
from meshlib.errors import (
    AttemptFailed,
    ConfigError,
    DeadlineExceeded,
    Denied,
    NoEndpoint,
    NoRoute,
    Rejected,
)
from meshlib.model import Call, Endpoint, Identity, Target, Verdict
from meshlib.observe.events import Inbound
from meshlib.stack.fallback import KINDS
from meshlib.testing.clock import FakeClock
from meshlib.testing.tree import Tree

HOST = Endpoint("i-1", "127.0.0.1", 1, meta={"version": "2"})
PEER = Identity("spiffe://example.org/ns/default/dc/local/svc/web", "web")


def call(**fields):
    """A call to the shop, made for nobody."""
    return Call("shop", target=Target("shop", "v1"), route="default", **fields)


def inbound(peer=PEER, *, edge=False, continued=False):
    """A served request."""
    return Inbound(
        "GET", "/", {}, None if edge else peer, ("127.0.0.1", 1), edge, continued=continued
    )


@pytest.fixture
def metrics():
    """Nothing has happened yet."""
    return Metrics()


@pytest.mark.parametrize(
    ("outcome", "word"),
    [
        (204, "2xx"),
        (302, "3xx"),
        (404, "4xx"),
        (503, "5xx"),
        (999, "other"),
        (DeadlineExceeded("x"), "deadline"),
        (Denied("x"), "denied"),
        (AttemptFailed("x"), "failed"),
        (NoEndpoint("x"), "no-endpoint"),
        (Rejected("x", by="rate"), "rejected"),
        (ValueError("x"), "error"),
        (asyncio.CancelledError(), "cancelled"),
    ],
)
def test_outcomes_of_calls(metrics, values, outcome, word):
    """A status is its class, an error is its kind; a caller that goes away is no error."""
    metrics.call_finished(call(), outcome, 0.01)
    assert (
        1 == values(metrics)["meshlib_call_duration_seconds_count", "shop", "default", "v1", word]
    )


@pytest.mark.parametrize(("word", "kind"), KINDS.items())
def test_the_words_are_those_of_fallbacks(metrics, values, word, kind):
    """What a document names in `On` is what the metric shows."""
    error = kind("x", by="rate") if kind is Rejected else kind("x")
    metrics.call_finished(call(), error, 0.01)
    service = "other" if kind is NoRoute else "shop"
    key = "meshlib_call_duration_seconds_count", service, "default", "v1", word
    assert 1 == values(metrics)[key]


def test_decisions_of_a_call(metrics, values):
    """What was written into the call is counted when it ends."""
    metrics.call_finished(call(extra=2, stopped_by="budget"), 503, 0.01)
    metrics.call_finished(call(fell_back="NoEndpoint"), 200, 0.01)
    metrics.call_finished(call(), Rejected("x", by="breaker"), 0.01)
    found = values(metrics)
    assert 2 == found["meshlib_extra_attempts_total", "shop"]
    assert 1 == found["meshlib_retries_withheld_total", "shop", "budget"]
    assert 1 == found["meshlib_fallbacks_total", "shop", "NoEndpoint"]
    assert 1 == found["meshlib_calls_rejected_total", "shop", "breaker"]
    assert 3 == found["meshlib_trees_total", "call"]


def test_events_on_the_way(metrics, values):
    """Attempts, retries, hedges, copies, and who is not blamed."""
    metrics.attempt_finished("shop", HOST, Verdict.RETRYABLE, 0.2)
    metrics.call_retried(call(), "503")
    metrics.call_hedged(call(), "won")
    metrics.call_mirrored("shop", "lab", "204")
    metrics.call_mirrored("shop", "lab", "dropped")
    metrics.blame_withheld("shop", HOST, "poison")
    found = values(metrics)
    assert 1 == found["meshlib_attempt_duration_seconds_count", "shop", "2", "retryable"]
    assert 1 == found["meshlib_retries_total", "shop", "503"]
    assert 1 == found["meshlib_hedges_total", "shop", "won"]
    assert 1 == found["meshlib_mirrored_calls_total", "shop", "lab", "2xx"]
    assert 1 == found["meshlib_mirrored_calls_total", "shop", "lab", "dropped"]
    assert 1 == found["meshlib_blame_withheld_total", "shop", "poison"]


def test_what_a_server_tells(metrics, values):
    """Served, refused, denied; and who the caller was, if it proved that."""
    metrics.request_served("shop", inbound(), 200, 0.1)
    metrics.request_served("shop", inbound(edge=True), 0, 0.1)
    metrics.request_refused("shop", "rate", 429)
    metrics.request_denied("shop", inbound(), "web -> shop", enforced=True)
    found = values(metrics)
    assert 1 == found["meshlib_request_duration_seconds_count", "shop", "web", "2xx"]
    assert 1 == found["meshlib_request_duration_seconds_count", "shop", "(edge)", "gone"]
    assert 1 == found["meshlib_requests_refused_total", "shop", "rate"]
    assert 1 == found["meshlib_requests_denied_total", "shop", "web", "web -> shop", "true"]


def test_the_store_of_shared_rates(metrics, values):
    """Down while this process counts alone, and how often it was lost."""
    metrics.rates_counted("shop", alone=True)
    assert 1 == values(metrics)["meshlib_rate_limit_store_down", "shop"]
    metrics.rates_counted("shop", alone=False)
    assert 0 == values(metrics)["meshlib_rate_limit_store_down", "shop"]
    assert 1 == values(metrics)["meshlib_rate_limit_store_losses_total", "shop"]


def test_what_the_process_sees(metrics, values):
    """Breakers, circuits, stalls and documents."""
    metrics.endpoint_moved("shop", HOST, "closed", "open")
    metrics.circuit_moved("shop", "GET", "closed", "open")
    metrics.process_stalled(2.5)
    metrics.document_refused("service-router", "shop", ConfigError("x", 1, "y"))
    metrics.control_event("clock-skew", "shop", "a sentence that is no label")
    found = values(metrics)
    assert 1 == found["meshlib_endpoint_breaker_transitions_total", "shop", "open"]
    assert 1 == found["meshlib_circuit_transitions_total", "shop", "GET", "open"]
    assert 1 == found["meshlib_stalls_total",]
    assert 2.5 == found["meshlib_stalled_seconds_total",]
    assert 1 == found["meshlib_documents_refused_total", "service-router", "shop"]
    assert 1 == found["meshlib_control_events_total", "clock-skew"]


def test_where_trees_begin(metrics, values):
    """At the edge, with a call made for nobody, with a peer that brings no credit; else nowhere."""
    metrics.request_served("shop", inbound(edge=True), 200, 0.1)
    metrics.request_served("shop", inbound(), 200, 0.1)
    metrics.request_served("shop", inbound(continued=True), 200, 0.1)
    metrics.call_finished(call(), 200, 0.1)
    metrics.call_finished(call(context=object()), 200, 0.1)
    found = values(metrics)
    assert [1, 1, 1] == [
        found["meshlib_trees_total", entry] for entry in ("edge", "stranger", "call")
    ]
    assert 1 == found["meshlib_requests_arrived_total",]


def chain(metrics, retry, **options):
    """Requests to a chain of three services, the last of which is down; the load on the last."""
    config = UpstreamConfig(retry=retry)
    tree = Tree(FakeClock(), random.Random(5), config, listener=metrics, **options)

    async def down(ask):
        return 503

    def passing_on(to):
        async def handler(ask):
            return await ask(to)

        return handler

    for name, to in [("a", "b"), ("b", "c"), ("c", "d")]:
        tree.add(name, passing_on(to))
    tree.add("d", down)
    for _ in range(50):
        tree.request("a")
    return tree.served["d"] / 50


@pytest.mark.parametrize("nacks", [True, False])
def test_amplification_of_a_tree(metrics, values, nacks):
    """1 and the extra attempts of all processes a tree is the load that reaches the last service.

    The credit is large here, so that nothing but nacks and the budget bounds what is tried again.
    """
    plenty = RetryConfig(attempts=3, credit=100, budget=BudgetConfig(floor=1000.0))
    load = chain(metrics, plenty, nacks=nacks)
    found = values(metrics)
    extra = sum(number for (name, *_), number in found.items() if "extra_attempts" in name)
    assert pytest.approx(load) == 1 + extra / found["meshlib_trees_total", "edge"]
    assert load > (2 if nacks else 20)


def test_amplification_of_a_process(metrics, values):
    """The gauge is this process's own part: extra attempts a request that came in."""
    assert ("meshlib_request_amplification",) not in values(metrics)
    for _ in range(4):
        metrics.request_served("shop", inbound(continued=True), 200, 0.1)
    metrics.call_finished(call(extra=1, context=object()), 200, 0.1)
    assert 1.25 == values(metrics)["meshlib_request_amplification",]
