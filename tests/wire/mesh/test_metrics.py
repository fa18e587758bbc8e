"""What goes wrong between two processes can be read on their pages."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from meshlib import Mesh, Quiet, Rejected
from meshlib.control.local.plane import LocalControl
from meshlib.control.registry import Document

MOODY = Path(__file__).with_name("moody.py")
PATIENCE = 20.0

POLICY = {
    "Circuit": {"Calls": 4, "Failures": 0.5},
    "Retry": {"Attempts": 2},
    "Mirror": [{"Service": "shop", "Percent": 100}],
}


class Ear(Quiet):
    """Says when what a test waits for has happened."""

    def __init__(self):
        self.refused, self.mirrored = threading.Event(), threading.Event()

    def document_refused(self, kind, name, error):
        self.refused.set()

    def call_mirrored(self, service, mirror, outcome):
        self.mirrored.set()


@pytest.fixture
def shop(home):
    """A service in a process of its own."""
    command = [sys.executable, MOODY, "shop"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().strip().isdecimal()
        yield
        process.terminate()


def numbers(page: str) -> Counter:
    """Samples by name and the words of their labels."""
    return Counter(
        {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }
    )


def follow(watch, is_so):
    """Wait until the watch's value is so."""
    happened = threading.Event()
    stop = watch.subscribe(lambda: is_so(watch.value) and happened.set())
    try:
        assert happened.wait(PATIENCE)
    finally:
        stop()


def test_trouble_shows_on_the_pages(shop, home):
    """A refused document, retries, a tripped circuit and a mirror, on both sides."""
    ear = Ear()
    with Mesh("caller", listeners=(ear,)) as mesh, mesh.client() as http:
        careless = LocalControl(home, validate=lambda document: None)
        careless.put(Document("traffic-policy", "shop", POLICY))
        config = mesh._directory.destination("shop").config
        follow(config, lambda value: value.circuit is not None)

        assert 200 == http.get("http://shop/200").status_code
        assert ear.mirrored.wait(PATIENCE)
        for _ in range(3):
            http.get("http://shop/503")
        with pytest.raises(Rejected):
            http.get("http://shop/503")

        careless.put(Document("service-router", "shop", {"Routes": [{"Nonsense": 1}]}))
        assert ear.refused.wait(PATIENCE)
        careless.close()
        mine = numbers(mesh.metrics.text())

    with Mesh("scraper") as scraper, scraper.client() as http:
        theirs = numbers(http.get("http://shop/metrics/").text)

    assert 1 == mine["meshlib_documents_refused_total", "service-router", "shop"]
    assert 3 == mine["meshlib_retries_total", "shop", "503"]
    assert 3 == mine["meshlib_extra_attempts_total", "shop"]
    assert 1 == mine["meshlib_circuit_transitions_total", "shop", "GET", "open"]
    assert 1 == mine["meshlib_calls_rejected_total", "shop", "breaker"]
    assert 1 <= mine["meshlib_mirrored_calls_total", "shop", "shop", "2xx"]
    assert 1 == sum(number for (name, *_), number in mine.items() if name == "meshlib_endpoints")
    assert 0 < mine["meshlib_certificate_not_after_timestamp_seconds", "caller"]
    assert 0 == mine["meshlib_certificate_overdue", "caller"]
    assert PATIENCE > mine["meshlib_snapshot_age_seconds", "shop"] >= 0
    assert ("meshlib_snapshot_age_seconds", "shop") in mine
    assert 1 + 3 / 5 == mine["meshlib_request_amplification",]
    assert 6 <= theirs["meshlib_request_duration_seconds_count", "shop", "caller", "5xx"]
    assert 2 <= theirs["meshlib_request_duration_seconds_count", "shop", "caller", "2xx"]
    assert 8 <= theirs["meshlib_requests_arrived_total",]
