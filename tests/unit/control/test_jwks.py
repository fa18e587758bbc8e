"""The keys of issuers, followed by hand: the test has the clock, and what is published."""

from __future__ import annotations

import os
import threading

import pytest

from meshlib.config import JwtProviderConfig
from meshlib.control.jwks import SOONEST, Jwks
from meshlib.errors import ConfigError
from meshlib.testing.clock import FakeClock
from meshlib.testing.issuer import AUDIENCE, ISSUER, Issuer
from meshlib.trust.keyset import read_keys

HIM, NEXT = Issuer(1e9), Issuer(1e9, kid="k2")
URL = "https://issuer.example/keys"


class Site:
    """What is at the URL."""

    def __init__(self):
        self.body, self.asked, self.events = HIM.published(), 0, []

    def __call__(self, url, timeout):
        assert (URL, 5.0) == (url, timeout)
        self.asked += 1
        if isinstance(self.body, Exception):
            raise self.body
        return self.body

    def event(self, kind, subject, text):
        self.events.append((kind, subject))


class Still(Jwks):
    """Without its thread: the test looks."""

    def _start(self):
        pass


@pytest.fixture
def site():
    return Site()


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def jwks(site, clock):
    return Still(site, clock=clock, event=site.event)


def provider(**where):
    return JwtProviderConfig(issuer=ISSUER, audiences=(AUDIENCE,), **(where or {"jwks_url": URL}))


def test_keys_at_a_url_are_looked_at_in_time(jwks, site, clock):
    """At once, and every five minutes; a rotation is followed and told of."""
    keys = jwks.keys(provider())
    jwks.look()
    assert read_keys(HIM.published()) == keys.value
    site.body = HIM.published(NEXT)
    clock.advance(299)
    jwks.look()
    assert (1, 1) == (site.asked, len(keys.value.keys))
    clock.advance(1)
    jwks.look()
    assert (2, 2) == (site.asked, len(keys.value.keys))
    assert [("jwks-changed", ISSUER)] == site.events


@pytest.mark.parametrize(
    "bad", [OSError("refused"), ValueError("x"), b"", b"[]", b'{"keys": []}', b"<html>", b"\xff"]
)
def test_trouble_leaves_the_last_good_keys(jwks, site, clock, bad):
    """It is told of once, tried again soon, and over when it is over."""
    keys = jwks.keys(provider())
    jwks.look()
    good, site.body = keys.value, bad
    for wait in (300, 1, 2, 4):
        clock.advance(wait)
        jwks.look()
    assert good is keys.value
    assert 5 == site.asked
    assert [("jwks-trouble", ISSUER)] == site.events
    site.body = NEXT.published()
    clock.advance(60)
    jwks.look()
    assert read_keys(NEXT.published()) == keys.value


def test_an_endpoint_that_is_down_from_the_start(jwks, site, clock):
    """No keys are known, until there are some."""
    site.body = OSError("refused")
    keys = jwks.keys(provider())
    jwks.look()
    assert keys.value is None
    site.body = HIM.published()
    clock.advance(1)
    jwks.look()
    assert keys.value is not None


def test_an_unknown_key_has_the_url_looked_at_sooner(jwks, site, clock):
    """But no flood of bad tokens makes it more often than every ten seconds."""
    jwks.keys(provider())
    jwks.look()
    for _ in range(100):
        jwks.unknown_key(provider())
        jwks.look()
    assert 1 == site.asked
    clock.advance(SOONEST)
    for _ in range(100):
        jwks.unknown_key(provider())
        jwks.look()
    assert 2 == site.asked


def test_a_file_is_there_at_once_and_followed(jwks, site, tmp_path):
    """Also when it is replaced as Kubernetes does, and when it is torn meanwhile."""
    file = tmp_path / "keys.json"
    file.write_bytes(HIM.published())
    keys = jwks.keys(provider(jwks_file=str(file)))
    assert read_keys(HIM.published()) == keys.value
    file.write_bytes(NEXT.published()[:100])
    jwks.look()
    assert read_keys(HIM.published()) == keys.value
    (tmp_path / "new").write_bytes(NEXT.published())
    os.replace(tmp_path / "new", file)  # noqa: PTH105 - what kubelet does
    jwks.look()
    assert read_keys(NEXT.published()) == keys.value
    assert ["jwks-trouble", "jwks-changed"] == [kind for kind, _ in site.events]


def test_the_thread_looks(site, clock):
    """By itself, from the first question on."""
    followed = Jwks(site, clock=clock, event=site.event)
    heard = threading.Event()
    followed.keys(provider()).subscribe(heard.set)
    assert heard.wait(20)
    followed.close()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("issuer", ""),
        ("audiences", ()),
        ("audiences", ("",)),
        ("jwks_file", "both.json"),
        ("jwks_url", ""),
        ("jwks_url", "ftp://x/keys"),
        ("jwks_url", "file:///etc/passwd"),
        ("jwks_url", "https://user:secret@x/keys"),
        ("jwks_url", "https://[/"),
        ("algorithms", ()),
        ("algorithms", ("none",)),
        ("algorithms", ("RS256", "HS256")),
        ("clock_skew", -1.0),
        ("refresh", 0.0),
        ("header", "X-Token"),
        ("header", "x token"),
    ],
)
def test_what_no_provider_can_be(field, value):
    """Each is refused by its name."""
    given = {"issuer": ISSUER, "audiences": (AUDIENCE,), "jwks_url": URL, field: value}
    with pytest.raises(ConfigError):
        JwtProviderConfig(**given)
