"""What is remembered of requests in audit mode."""

from __future__ import annotations

import os
import threading

import pytest

from meshlib.config import ServingConfig
from meshlib.errors import ControlError
from meshlib.model import Identity
from meshlib.observe.events import Inbound
from meshlib.observe.quiet import Quiet
from meshlib.serve.authorize import Authorization
from meshlib.serve.observed import MOST, Observed, pattern
from meshlib.trust.intention import Intention, IntentionSet
from meshlib.watch import Watch

WEB = Identity("spiffe://example.org/ns/default/dc/local/svc/web", "web")


def inbound(path="/a", method="GET", peer=WEB, **more):
    return Inbound(method, path, {}, peer, ("", 0), **more)


class Page:
    """Where it is written: the last page, and whether there is one."""

    def __init__(self):
        self.last, self.there = None, threading.Event()

    def __call__(self, page):
        self.last = page
        self.there.set()


@pytest.fixture
def page():
    return Page()


@pytest.fixture
def observed(page):
    return Observed(page, pause=0.0)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "/"),
        ("/cities", "/cities"),
        ("/cities/berlin", "/cities/berlin"),
        ("/cities/42", "/cities/*"),
        ("/cities/42/sun", "/cities/*"),
        ("/v1/cities/6ba7b810-9dad-11d1-80b4-00c04fd430c8", "/v1/cities/*"),
        ("/users/ada@example.org", "/users/*"),
        ("/tokens/averylongsegmentwithoutanynumber", "/tokens/*"),
        ("/a/" + "b/" * 200, "/*"),
        (None, ""),
    ],
)
def test_patterns(path, expected):
    """What names a kind of thing stays, what names one thing goes, with all below it."""
    assert expected == pattern(path)


def test_it_is_handed_on(observed, page):
    """Soon after it came, once for several, and again when there is more."""
    observed.note(inbound(), "/a")
    assert page.there.wait(20)
    page.there.clear()
    observed.note(inbound(), "/a")
    assert page.there.wait(20)
    row = {"caller": "web", "method": "GET", "path": "/a", "requests": 2}
    assert {"seen": [row], "beyond": 0} == page.last


def test_it_is_bounded(observed):
    """However many different requests come; methods nobody knows are one."""
    for number in range(MOST + 7):
        observed.note(
            inbound(),
            f"/{'abcdefghij'[number % 10]}{'x' * (number // 10 % 20)}/{'y' * (number // 200)}",
        )
    observed.note(inbound(method="<script>"), "/new")
    assert (MOST, 8) == (len(observed.page()["seen"]), observed.page()["beyond"])


def test_who_has_no_identity_is_no_service(observed):
    """Plaintext is told apart."""
    observed.note(inbound(peer=None, plaintext=True), "/a")
    assert "(plaintext)" == observed.page()["seen"][0]["caller"]


def test_trouble_is_told(page, caplog):
    """No request fails for it."""
    tried = threading.Event()

    def write(page):
        tried.set()
        raise ControlError("the disk is full")

    observed = Observed(write, pause=0.0)
    observed.note(inbound(), "/a")
    assert tried.wait(20)


def test_a_forked_process_counts_for_itself(observed, monkeypatch):
    """From zero, and without its parent's lock."""
    observed.note(inbound(), "/a")
    observed._lock.acquire()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    observed.note(inbound(), "/b")
    assert ["/b"] == [row["path"] for row in observed.page()["seen"]]


def test_only_in_audit_mode(options, connection, observed):
    """Both what is allowed and what would be denied; in enforce mode nothing."""
    deny = IntentionSet("backend", (Intention("frontend", "backend", allow=False),))
    config = Watch(ServingConfig(), ready=True)
    guard = Authorization(
        "backend", Watch(deny, ready=True), config, options.credentials, Quiet(), observed
    )
    assert 403 == guard.refusal(connection, inbound(), {}.get).status
    assert [] == observed.page()["seen"]
    config.set(ServingConfig(authorization="audit"))
    assert guard.refusal(connection, inbound(), {}.get) is None
    assert 1 == len(observed.page()["seen"])
