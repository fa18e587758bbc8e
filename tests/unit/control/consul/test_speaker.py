"""What is made of a leaf and of roots, in whatever order they are heard."""

from __future__ import annotations

import random

import pytest

from meshlib.control.consul.http import Answer
from meshlib.control.consul.speaker import Speaker, World
from meshlib.testing.ca import DAY, ThrowawayCA
from meshlib.testing.clock import FakeClock
from meshlib.watch import Watch

NOW = 1_800_000_000.0
OLD = ThrowawayCA("old.consul", now=NOW)
NEW = ThrowawayCA("new.consul", now=NOW)


class Nobody:
    """An agent that is not asked, as nobody starts to follow."""


def heard(ca, service="web"):
    """A leaf, as the agent tells of it."""
    leaf = ca.leaf(uris=(ca.id_of(service),))
    body = {"CertPEM": leaf.chain_pem.decode(), "PrivateKeyPEM": leaf.key_pem.decode()}
    return Answer(200, body, 7, {})


class Times:
    """The clock on the wall, and what was told."""

    def __init__(self):
        self.now, self.told, self.notified = NOW, [], 0

    def notify(self):
        self.notified += 1


@pytest.fixture
def times():
    return Times()


@pytest.fixture
def roots():
    return Watch(None)


@pytest.fixture
def speaker(times, roots):
    world = World(
        event=lambda *told: times.told.append(told),
        now=lambda: times.now,
        clock=FakeClock(),
        rng=random.Random(1),
        notify=times.notify,
    )
    return Speaker(Nobody(), "web", roots, world)


def test_leaf_first(speaker, roots, times):
    """Nothing is there before both are; whoever waits is told."""
    speaker._heard(heard(OLD))
    assert not speaker.watch.ready
    before = times.notified
    roots.set(OLD.bundle)
    assert (True, OLD.id_of("web")) == (speaker.watch.ready, speaker.watch.value.leaf.spiffe_id)
    assert before < times.notified


def test_roots_first(speaker, roots):
    """The other way round it is the same."""
    roots.set(OLD.bundle)
    assert not speaker.watch.ready
    speaker._heard(heard(OLD))
    assert {OLD.trust_domain: OLD.bundle} == speaker.watch.value.bundles


def test_a_cluster_that_was_made_anew(speaker, roots):
    """A leaf is never used with the roots of another trust domain, nor roots with its leaf."""
    roots.set(OLD.bundle)
    speaker._heard(heard(OLD))
    old = speaker.watch.value
    roots.set(NEW.bundle)
    assert old is speaker.watch.value
    speaker._heard(heard(NEW))
    new = speaker.watch.value
    assert ([NEW.trust_domain], 2) == (list(new.bundles), new.generation)


def test_the_same_again_is_no_news(speaker, roots):
    """Pools are kept by generation: it grows only when something has changed."""
    roots.set(OLD.bundle)
    answer = heard(OLD)
    speaker._heard(answer)
    speaker._heard(answer)
    roots.set(OLD.bundle)
    assert 1 == speaker.watch.value.generation


def test_the_end_of_a_leaf_is_explained(speaker, roots, times):
    """Once to the operator; and to each caller, who has it from the credentials."""
    roots.set(OLD.bundle)
    speaker._heard(heard(OLD))
    times.now = NOW + DAY + 5
    for _ in range(3):
        speaker._look_at_the_clock()
    value = speaker.watch.value
    assert ("the agent has no newer one", 2) == (value.trouble, value.generation)
    assert ["leaf-expired"] == [kind for kind, _, _ in times.told]
    times.now = NOW
    speaker._heard(heard(OLD))
    assert "" == speaker.watch.value.trouble


def test_a_leaf_of_the_future_is_used(speaker, roots, times):
    """Others may believe it; that the clock is behind is said."""
    times.now = NOW - 1000
    roots.set(OLD.bundle)
    speaker._heard(heard(OLD))
    assert speaker.watch.ready
    assert ["clock-skew"] == [kind for kind, _, _ in times.told]


def test_who_has_stopped_installs_nothing(speaker, roots):
    """Roots are no longer heard."""
    speaker._heard(heard(OLD))
    speaker.stop()
    roots.set(OLD.bundle)
    assert not speaker.watch.ready
