import logging
import os
import random
import threading
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.control.local.ca import LEAF_TTL
from meshlib.control.local.identity import LocalIdentity, renew_at
from meshlib.control.local.rotation import Rotation
from meshlib.control.local.vault import Vault
from meshlib.errors import ConfigError, ControlError, IdentityUnavailable
from meshlib.trust.bundle import LeafCert

START = 1_800_000_000.0
PATIENCE = 30.0


@dataclass
class Clock:
    now: float = START

    def __call__(self):
        return self.now


class Middle:
    """An rng without surprises."""

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
def make(folder, clock):
    """LocalIdentity objects on one folder; their threads never wake by themselves."""
    made = []

    def start(**more):
        settings = {"now": clock, "rng": Middle(), "poll": 3600.0, **more}
        made.append(LocalIdentity(folder, "example.org", **settings))
        return made[-1]

    yield start
    for each in made:
        each.close()


def hear(watch):
    """An event that is set by the next change."""
    event = threading.Event()
    armed = []
    watch.subscribe(lambda: event.set() if armed else None)
    armed.append(True)
    return event


def spoil(folder):
    """Take the CA away; returns how to bring it back."""
    state = folder / "state.json"
    content = state.read_bytes()
    state.write_bytes(b"{}")
    return lambda: state.write_bytes(content)


def test_first_value_is_there(make, folder):
    """Credentials are whole when the call returns: a leaf for the service and the CA's roots."""
    identity = make()
    watch = identity.credentials("web")
    assert watch.ready
    value = watch.value
    assert identity.spiffe_id("web") == value.leaf.spiffe_id
    assert "spiffe://example.org/ns/default/dc/local/svc/web" == value.leaf.spiffe_id
    assert ["example.org"] == list(value.bundles)
    assert START + LEAF_TTL == value.leaf.not_after


def test_nothing_happens_before_it_is_used(make, folder):
    """Making a LocalIdentity opens no folder and starts no thread."""
    identity = make()
    identity.spiffe_id("web")
    assert not folder.exists()
    assert identity._thread is None


def test_one_watch_a_service(make):
    """The same name gives the same watch, another name another leaf."""
    identity = make()
    assert identity.credentials("web") is identity.credentials("web")
    assert identity.credentials("web").value.leaf != identity.credentials("db").value.leaf


def test_bad_names(make, folder, clock):
    """A bad service name or trust domain is a ConfigError before anything is made."""
    with pytest.raises(ConfigError, match="service"):
        make().credentials("Web")
    with pytest.raises(ConfigError, match="spiffe id"):
        LocalIdentity(folder, "a b", now=clock, rng=Middle())
    assert not folder.exists()


def test_renewed_when_due(make, clock):
    """A leaf is replaced at 2/3 of its life, with a higher generation, and not before."""
    identity = make()
    watch = identity.credentials("web")
    first = watch.value
    due = renew_at(first.leaf, Middle())
    clock.now = due - 1
    identity.renew_due()
    assert first is watch.value
    clock.now = due
    identity.renew_due()
    assert first.generation + 1 == watch.value.generation
    assert due + LEAF_TTL == watch.value.leaf.not_after
    assert first.leaf.key_pem != watch.value.leaf.key_pem


def test_renewed_again_and_again(make, clock):
    """The second renewal is counted from the first one's leaf."""
    identity = make()
    watch = identity.credentials("web")
    for generation in (2, 3, 4):
        clock.now = renew_at(watch.value.leaf, Middle())
        identity.renew_due()
        identity.renew_due()
        assert generation == watch.value.generation


def test_a_failure_keeps_the_old(make, clock, folder):
    """While the CA is damaged the old leaf stays; once it is mended the next try renews."""
    identity = make()
    watch = identity.credentials("web")
    first = watch.value
    mend = spoil(folder)
    clock.now = renew_at(first.leaf, Middle())
    with pytest.raises(IdentityUnavailable):
        identity.renew_due()
    assert first is watch.value
    mend()
    identity.renew_due()
    assert first.generation + 1 == watch.value.generation


def test_a_changed_bundle_is_published(make, folder, clock):
    """Roots that another process added reach every watch, with the leaf as it was."""
    identity = make()
    watch = identity.credentials("web")
    first = watch.value
    rotation(folder, clock).prepare()
    identity.renew_due()
    assert first.leaf is watch.value.leaf
    assert 2 == len(watch.value.bundles["example.org"].roots)
    assert first.bundles["example.org"].roots < watch.value.bundles["example.org"].roots
    assert first.generation + 1 == watch.value.generation


def rotation(folder, clock):
    return Rotation(Vault(folder), now=clock)


def test_closed(make):
    """After close no service gets credentials, and closing twice is fine."""
    identity = make()
    identity.credentials("web")
    thread = identity._thread
    identity.close()
    identity.close()
    assert not thread.is_alive()
    with pytest.raises(IdentityUnavailable, match="closed"):
        identity.credentials("db")


def test_a_folder_that_cannot_be_used(make, folder):
    """A folder others can enter is an error of the first credentials."""
    folder.mkdir(mode=0o755)
    with pytest.raises(ConfigError, match="0755"):
        make().credentials("web")


def test_the_thread_renews(make, clock):
    """Without anybody asking, a due leaf is replaced in the watch."""
    watch = make(poll=0.001).credentials("web")
    changed = hear(watch)
    clock.now = renew_at(watch.value.leaf, Middle())
    assert changed.wait(PATIENCE)
    assert 2 == watch.value.generation


class Heard(logging.Handler):
    """Tells the test when something was logged."""

    def __init__(self):
        super().__init__()
        self.records = {}
        levels = ("DEBUG", "INFO", "WARNING", "ERROR")
        self.events = {level: threading.Event() for level in levels}

    def emit(self, record):
        self.records[record.levelname] = record.getMessage()
        self.events[record.levelname].set()


@pytest.fixture
def heard():
    handler, logger = Heard(), logging.getLogger("meshlib.identity")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(before)


@pytest.mark.parametrize(("share", "level"), [(0.68, "DEBUG"), (0.72, "WARNING")])
def test_the_thread_retries_and_warns(make, clock, folder, heard, share, level):
    """A failure is retried until it works; past 70 % of the leaf's life it is a warning."""
    watch = make(poll=0.001).credentials("web")
    leaf = watch.value.leaf
    changed = hear(watch)
    mend = spoil(folder)
    clock.now = leaf.not_before + share * (leaf.not_after - leaf.not_before)
    assert heard.events[level].wait(PATIENCE)
    assert leaf is watch.value.leaf
    mend()
    assert changed.wait(PATIENCE)
    assert leaf is not watch.value.leaf
    assert ("WARNING" == level) == ("WARNING" in heard.records)
    assert leaf.spiffe_id in heard.records.get("WARNING", leaf.spiffe_id)


def test_close_ends_a_failing_renewal(make, clock, folder, heard):
    """Closing does not wait for a CA that stays broken."""
    identity = make(poll=0.001)
    watch = identity.credentials("web")
    spoil(folder)
    clock.now = renew_at(watch.value.leaf, Middle())
    assert heard.events["DEBUG"].wait(PATIENCE)
    thread = identity._thread
    identity.close()
    assert not thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_child_renews_for_itself(make, clock):
    """After a fork the child has a thread of its own that renews, even if a lock was held."""
    identity = make(poll=0.001)
    watch = identity.credentials("web")
    reader, writer = os.pipe()
    held, let_go = threading.Event(), threading.Event()

    def hold():
        with identity._lock:
            held.set()
            let_go.wait(PATIENCE)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(PATIENCE)
    child = os.fork()
    let_go.set()
    if not child:
        changed = hear(watch)
        clock.now = renew_at(watch.value.leaf, Middle())
        told = changed.wait(PATIENCE) and 2 == watch.value.generation
        # asked here, because the new thread may bear the name of the one that held the lock
        told = identity._lock.acquire(timeout=PATIENCE / 2) and told
        os.write(writer, b"renewed" if told else b"nothing")
        os._exit(0)
    holder.join()
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert b"renewed" == pipe.read()
    assert (child, 0) == os.waitpid(child, 0)


@given(
    st.floats(0, 4e9),
    st.floats(10, 1e8),
    st.randoms(use_true_random=False, note_method_calls=False),
)
def test_renewal_is_between_a_half_and_two_thirds(since, life, rng):
    """Whatever chance says, a leaf is renewed well before somebody is woken for it."""
    leaf = LeafCert("spiffe://td/x", b"", b"", since, since + life)
    share = (renew_at(leaf, rng) - since) / (leaf.not_after - since)
    assert 1 / 2 - 1e-6 <= share <= 2 / 3 + 1e-6


def test_renewals_are_spread():
    """Leaves made together are not renewed together."""
    rng = random.Random(1)
    leaf = LeafCert("spiffe://td/x", b"", b"", 0.0, 100.0)
    moments = sorted(renew_at(leaf, rng) for _ in range(100))
    assert moments[-1] - moments[0] > 15


def test_one_failure_does_not_starve_the_others(make, clock):
    """A service whose renewal fails does not keep the next one from being renewed."""
    identity = make()
    web, db = identity.credentials("web"), identity.credentials("db")
    real = identity._ca.issue

    def issue(spiffe_id):
        if "web" in str(spiffe_id):
            raise ControlError("no")
        return real(spiffe_id)

    identity._ca.issue = issue
    clock.now = renew_at(db.value.leaf, Middle())
    with pytest.raises(ControlError):
        identity.renew_due()
    assert (1, 2) == (web.value.generation, db.value.generation)
