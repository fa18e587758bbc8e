"""Limits that documents set, from the control plane to the request."""

from __future__ import annotations

import threading

import pytest

from meshlib import Mesh
from meshlib.config import QuotaConfig, RatesConfig, ServingConfig
from meshlib.control.registry import Document
from meshlib.errors import Rejected
from meshlib.policy.rates import Visitor

VISITOR = Visitor("a", "frontend", "GET", "/")


def follow(watch, is_so):
    """Wait until the watch's value is so."""
    happened = threading.Event()
    stop = watch.subscribe(lambda: is_so(watch.value) and happened.set())
    try:
        assert happened.wait(20)
    finally:
        stop()


def test_a_service_reads_its_own_document(home):
    """What `traffic-policy/shop` says under Serving is the gate of the mesh called shop."""
    with Mesh("shop") as mesh:
        gate = mesh._gate
        assert not gate.active
        serving = {"Rate": {"Total": {"Limit": 1, "Per": "1h"}}}
        mesh.control.put(Document("traffic-policy", "shop", {"Serving": serving}))
        follow(mesh._directory.serving("shop"), lambda value: value.rate is not None)
        assert [None, 429] == [t and t.status for t in (gate.turned(VISITOR, 3) for _ in range(2))]
        mesh.control.put(Document("traffic-policy", "shop", {}))
        follow(mesh._directory.serving("shop"), lambda value: value.rate is None)
        assert not gate.active


def test_code_beats_documents(home):
    """What the program says of its own limits holds."""
    code = ServingConfig(rate=RatesConfig(total=QuotaConfig(limit=5)))
    with Mesh("shop", serving=code) as mesh:
        assert mesh._gate.active


def test_callers_follow_the_document_too(home):
    """A quota of zero calls to a service is refused by the caller, before anything is sent."""
    with Mesh("frontend") as mesh:
        mesh.control.put(Document("traffic-policy", "shop", {"Rate": {"Limit": 1, "Per": "1h"}}))
        destination = mesh._directory.destination("shop")
        follow(destination.config, lambda value: value.rate is not None)
        assert destination.guards.rate.take() is None
        with mesh.client() as client, pytest.raises(Rejected, match="its quota is 1 in 3600 s"):
            client.get("http://shop/")
