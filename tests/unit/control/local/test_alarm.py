"""What is said of certificates that are not renewed, and of a CA that is another one."""

import logging
import shutil
from dataclasses import dataclass

import pytest

from meshlib.control.local.ca import LEAF_TTL, AnotherCA, LocalCA
from meshlib.control.local.identity import LocalIdentity
from meshlib.control.local.rotation import Rotation
from meshlib.control.local.vault import Vault
from meshlib.errors import IdentityUnavailable

START = 1_800_000_000.0
LIFE = LEAF_TTL + 300.0


@dataclass
class Clock:
    now: float = START

    def __call__(self):
        return self.now


class Middle:
    def random(self):
        return 0.5

    def randrange(self, stop):
        return stop // 2


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "ca"


@pytest.fixture
def events():
    return []


@pytest.fixture
def identity(folder, clock, events):
    made = LocalIdentity(
        folder,
        "example.org",
        now=clock,
        rng=Middle(),
        poll=3600.0,
        event=lambda kind, subject, text: events.append((kind, subject, text)),
    )
    yield made
    made.close()


@pytest.fixture
def watch(identity):
    return identity.credentials("web")


@pytest.fixture
def lost(folder, tmp_path, watch):
    """The folder is away; returns how to bring it back."""
    folder.rename(tmp_path / "away")
    return lambda: (tmp_path / "away").rename(folder)


def at(clock, share):
    clock.now = START - 300 + share * LIFE


def kinds(events):
    return [kind for kind, _, _ in events]


def fail(identity, times=3, error=IdentityUnavailable):
    for _ in range(times):
        with pytest.raises(error):
            identity.renew_due()


def test_each_thing_once(identity, clock, lost, events, caplog):
    """Trouble at once, overdue from 70 % of life, expired at its end: each is one event."""
    fail(identity)
    assert ["identity-trouble"] == kinds(events)
    at(clock, 0.69)
    fail(identity)
    assert not identity.overdue("web")
    at(clock, 0.71)
    fail(identity)
    assert identity.overdue("web")
    at(clock, 1.01)
    fail(identity)
    assert ["identity-trouble", "leaf-overdue", "leaf-expired"] == kinds(events)
    loud = [each.levelno for each in caplog.records if each.levelno > logging.INFO]
    assert [logging.WARNING, logging.ERROR] == loud
    for _, subject, text in events[1:]:
        assert "web" == subject
        assert "svc/web" in text
        assert "state.json is gone" in text


def test_when_it_works_again(identity, clock, lost, events, watch):
    """What was said is taken back, and said anew the next time."""
    at(clock, 0.71)
    fail(identity)
    lost()
    identity.renew_due()
    assert "identity-restored" == kinds(events)[-1]
    assert not identity.overdue("web")
    identity.renew_due()
    assert 1 == kinds(events).count("identity-restored")


def test_what_expired_says_why_in_the_credentials(identity, clock, lost, watch):
    """At expiry the credentials carry the reason, once per reason; a new leaf has none."""
    at(clock, 0.9)
    fail(identity)
    assert (1, "") == (watch.value.generation, watch.value.trouble)
    at(clock, 1.01)
    fail(identity)
    expired = watch.value
    assert 2 == expired.generation
    assert "gone" in expired.trouble
    assert expired.remedy.startswith("restore the folder")
    lost()
    identity.renew_due()
    assert (3, "", "") == (watch.value.generation, watch.value.trouble, watch.value.remedy)


def test_another_ca(identity, folder, clock, watch, events, caplog):
    """A CA that was made anew is told of once, with what to do, and changes nothing."""
    before = watch.value
    shutil.rmtree(folder)
    LocalCA(folder, "example.org", now=clock)
    fail(identity, error=AnotherCA)
    assert before is watch.value
    ((kind, _, text),) = events
    assert "ca-replaced" == kind
    assert "restart every process" in text
    assert [logging.ERROR] == [each.levelno for each in caplog.records if each.levelno > 20]
    with pytest.raises(AnotherCA):
        identity.credentials("db")


def test_a_third_ca_is_told_of_too(identity, folder, clock, watch, events):
    """Each CA that is not ours is news."""
    for _ in range(2):
        shutil.rmtree(folder)
        LocalCA(folder, "example.org", now=clock)
        fail(identity, error=AnotherCA)
    assert ["ca-replaced"] * 2 == kinds(events)


def test_a_rotation_is_followed(identity, folder, clock, watch, events):
    """The bundle follows every step, and the leaf the one that activates."""
    rotation = Rotation(Vault(folder), now=clock)
    first = watch.value

    def after(step):
        step()
        identity.renew_due()
        identity.renew_due()
        return watch.value

    prepared = after(rotation.prepare)
    assert (2, True) == (prepared.generation, first.leaf is prepared.leaf)
    activated = after(rotation.activate)
    assert (3, prepared.bundles) == (activated.generation, activated.bundles)
    assert activated.leaf.key_pem != prepared.leaf.key_pem
    finished = after(lambda: rotation.finish(force=True))
    assert (4, True) == (finished.generation, activated.leaf is finished.leaf)
    assert ["roots-changed"] * 2 == kinds(events)


def test_a_clock_set_back(identity, clock, watch):
    """A leaf of the future is of no use to anybody here, and is replaced."""
    clock.now = START - 400
    identity.renew_due()
    assert START - 700 == watch.value.leaf.not_before
    identity.renew_due()
    assert 2 == watch.value.generation


def test_the_pause_ends_when_somebody_should_be_told(identity, clock, lost):
    """However long failures have lasted, the next try is not after the next mark."""
    from tenacity import RetryCallState

    state = RetryCallState(None, None, (), {})
    state.attempt_number = 50
    at(clock, 0.7)
    clock.now -= 0.5
    assert identity._pause(state) <= 0.5 + 0.01
    at(clock, 1.0)
    clock.now -= 0.25
    assert identity._pause(state) <= 0.25 + 0.01
