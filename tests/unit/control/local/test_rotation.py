"""Replacing the root: what each step leaves behind, for who followed and who did not."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from meshlib.control.local.ca import LEAF_TTL, AnotherCA, LocalCA
from meshlib.control.local.rotation import Rotation
from meshlib.control.local.vault import Vault
from meshlib.errors import ConfigError, ControlError, IdentityUnavailable
from meshlib.testing.killed import killed_at
from meshlib.trust.spiffe import service_id

WEB = service_id("example.org", "web")
START = 1_800_000_000.0
LATER = LEAF_TTL + 1


@dataclass
class Clock:
    now: float = START

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "ca"


@pytest.fixture
def ca(folder, clock):
    return LocalCA(folder, "example.org", now=clock)


@pytest.fixture
def rotation(ca, folder, clock):
    return Rotation(Vault(folder), now=clock)


def roots_of(bundle):
    return [x509.load_der_x509_certificate(each) for each in sorted(bundle.roots)]


def pem(certificates):
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


def trusts(bundle, leaf, now):
    """Whether cryptography's verifier finds a way from the leaf to the bundle."""
    chain = x509.load_pem_x509_certificates(leaf.chain_pem)
    policy = PolicyBuilder().store(Store(roots_of(bundle))).time(datetime.fromtimestamp(now, UTC))
    try:
        policy.build_client_verifier().verify(chain[0], chain[1:])
    except VerificationError:
        return False
    return True


@dataclass
class Seen:
    """What a process holds that looked at one moment, and never again."""

    leaf: object
    bundle: object


def look(ca):
    return Seen(ca.issue(WEB), ca.bundle())


def test_the_steps(ca, folder, rotation, clock):
    """Prepare publishes a second root, activate signs beneath it, finish drops the first."""
    first = ca.bundle().roots
    assert rotation.prepare()
    both = ca.bundle().roots
    assert (1, 2, True) == (ca.signing(), len(both), first < both)
    assert rotation.activate()
    assert (2, both) == (ca.signing(), ca.bundle().roots)
    clock.now += LATER
    assert rotation.finish()
    assert (2, both - first) == (ca.signing(), ca.bundle().roots)
    left = {each.name for each in folder.iterdir()}
    assert {"cross-2.pem", "issuing-2-1-key.pem", "root-2-key.pem"} < left
    assert not {each for each in left if "-1" in each.replace("-2-1", "")}


def test_every_step_once(rotation, clock):
    """A step that was done already changes nothing: two who rotate at once rotate once."""
    assert [True, False] == [rotation.prepare(), rotation.prepare()]
    assert [True, False] == [rotation.activate(), rotation.activate()]
    clock.now += LATER
    assert [True, False] == [rotation.finish(), rotation.finish()]


def test_steps_out_of_turn(rotation, clock):
    """A step before its turn is refused, with the one that is due."""
    with pytest.raises(ControlError, match="no root is prepared"):
        rotation.activate()
    rotation.prepare()
    with pytest.raises(ControlError, match="rotate activate"):
        rotation.finish(force=True)
    rotation.activate()
    with pytest.raises(ControlError, match="rotate finish"):
        rotation.prepare()


@pytest.mark.parametrize(("ttl", "waits"), [(LEAF_TTL, LEAF_TTL), (600.0, 600.0)])
def test_finish_waits_for_the_last_leaf(folder, clock, ttl, waits):
    """While a leaf of the old root can be valid the root is not dropped, unless it is forced."""
    ca = LocalCA(folder, "example.org", now=clock, leaf_ttl=ttl)
    rotation = Rotation(Vault(folder), now=clock)
    rotation.prepare()
    last = ca.issue(WEB)
    rotation.activate()
    clock.now += waits
    assert last.not_after == clock.now
    with pytest.raises(ControlError, match="valid until") as caught:
        rotation.finish()
    assert "--force" in caught.value.hint
    clock.now += 1
    assert rotation.finish()


def test_finish_waits_for_the_longest_leaf_of_anybody(folder, clock):
    """The life that counts is the longest that any process ever asked for."""
    LocalCA(folder, "example.org", now=clock, leaf_ttl=60)
    LocalCA(folder, "example.org", now=clock, leaf_ttl=6000)
    LocalCA(folder, "example.org", now=clock, leaf_ttl=60)
    rotation = Rotation(Vault(folder), now=clock)
    rotation.prepare()
    rotation.activate()
    clock.now += 6000
    with pytest.raises(ControlError, match="valid until"):
        rotation.finish()
    assert rotation.finish(force=True)


def test_no_leaf_outlasts_the_retirement(ca, rotation, clock, monkeypatch):
    """Even a leaf that was begun before the step and signed after it ends in time."""
    rotation.prepare()
    fresh = ca._fresh

    def slowly():
        loaded = fresh()
        clock.now += 3600
        rotation.activate()
        return loaded

    monkeypatch.setattr(ca, "_fresh", slowly)
    before = clock.now
    assert before + LEAF_TTL == ca.issue(WEB).not_after


@pytest.fixture
def moments(ca, rotation, clock):
    """What processes hold at every state of two rotations, by name, in order of time."""
    seen = {"1": look(ca)}
    for old, new in ((1, 2), (2, 3)):
        rotation.prepare()
        seen[f"{old} + {new} prepared"] = look(ca)
        rotation.activate()
        seen[f"{new} active + {old}"] = look(ca)
        clock.now += LATER
        rotation.finish()
        seen[f"{new}"] = look(ca)
    return seen


NEIGHBOURS = [
    ("1", "1 + 2 prepared"),
    ("1", "2 active + 1"),
    ("1 + 2 prepared", "2 active + 1"),
    ("1 + 2 prepared", "2"),
    ("2 active + 1", "2"),
    ("2", "2 + 3 prepared"),
    ("2", "3 active + 2"),
    ("2 + 3 prepared", "3 active + 2"),
    ("3 active + 2", "3"),
]


@pytest.mark.parametrize(("early", "late"), NEIGHBOURS)
@pytest.mark.parametrize("judge", ["cryptography", "openssl"])
def test_neighbouring_states_trust_each_other(
    moments, early, late, judge, tmp_path, real_component
):
    """Who is a step behind, or two, is trusted and trusts; so say two independent verifiers."""
    ask = trusts if judge == "cryptography" else by_openssl(real_component("openssl"), tmp_path)
    for held, name in ((early, early), (early, late), (late, late)):
        leaf = moments[name].leaf
        assert ask(moments[held].bundle, leaf, leaf.not_after - 60)
    if not (early.startswith("1") and late == "2"):  # its leaf had expired, or finish had waited
        leaf = moments[early].leaf
        assert ask(moments[late].bundle, leaf, leaf.not_after - 60)


@pytest.mark.parametrize("judge", ["cryptography", "openssl"])
def test_what_was_dropped_is_not_trusted(moments, judge, tmp_path, real_component):
    """After finish nobody trusts a leaf of the old root, and a chain without its cross fails."""
    ask = trusts if judge == "cryptography" else by_openssl(real_component("openssl"), tmp_path)
    leaf = moments["1"].leaf
    assert not ask(moments["2"].bundle, leaf, leaf.not_after - 60)
    leaf = moments["2"].leaf
    assert not ask(moments["1"].bundle, leaf, leaf.not_after - 60)


def by_openssl(program, folder):
    """`openssl verify -x509_strict`, as client and as server."""

    def ask(bundle, leaf, now):
        chain = x509.load_pem_x509_certificates(leaf.chain_pem)
        for name, content in (
            ("leaf", chain[:1]),
            ("more", chain[1:]),
            ("roots", roots_of(bundle)),
        ):
            (folder / name).write_bytes(pem(content))
        codes = set()
        for purpose in ("sslclient", "sslserver"):
            command = [program, "verify", "-x509_strict", "-purpose", purpose]
            command += ["-attime", str(int(now)), "-CAfile", "roots", "-untrusted", "more", "leaf"]
            done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
            codes.add(done.returncode)
        assert 1 == len(codes)
        return codes == {0}

    return ask


def test_the_cross_certificate_can_only_carry_an_issuing_one(ca, rotation):
    """Its path length leaves room for one CA beneath, and its name and key are the new root's."""
    rotation.prepare()
    rotation.activate()
    _, issuing, cross = x509.load_pem_x509_certificates(ca.issue(WEB).chain_pem)
    roots = {each.subject: each for each in roots_of(ca.bundle())}
    new, old = roots[cross.subject], roots[cross.issuer]
    cross.verify_directly_issued_by(old)
    issuing.verify_directly_issued_by(new)
    assert new.public_key() == cross.public_key()
    kinds = [
        each.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
        for each in (issuing, cross, new)
    ]
    assert [0, 1, 2] == kinds


# -- continuity


def test_who_slept_through_rotations_goes_on(ca, folder, rotation, clock):
    """Cross certificates prove that a CA whose roots are all new is still the same CA."""
    sleeper = LocalCA(folder, "example.org", now=clock)
    for _ in range(3):
        rotation.prepare()
        rotation.activate()
        rotation.finish(force=True)
    assert (4, ca.bundle()) == (sleeper.signing(), sleeper.bundle())


def replaced(folder, clock):
    shutil.rmtree(folder)
    return LocalCA(folder, "example.org", now=clock)


def test_a_replaced_folder_is_another_ca(ca, folder, clock):
    """A CA that a deleted folder was made anew with is not taken for the one that was there."""
    kept = look(ca)
    other = replaced(folder, clock)
    for ask in (ca.bundle, ca.signing, lambda: ca.issue(WEB)):
        with pytest.raises(AnotherCA, match="restart every process") as caught:
            ask()
    assert caught.value.found[:16] in caught.value.why
    assert kept.bundle != other.bundle()


def test_a_replaced_folder_that_comes_back(ca, folder, clock, tmp_path):
    """The folder restored, the CA is the one it was."""
    kept = look(ca)
    folder.rename(tmp_path / "away")
    with pytest.raises(IdentityUnavailable, match="gone"):
        ca.bundle()
    LocalCA(folder, "example.org", now=clock)
    with pytest.raises(AnotherCA):
        ca.bundle()
    shutil.rmtree(folder)
    (tmp_path / "away").rename(folder)
    assert kept.bundle == ca.bundle()


def test_a_backup_from_before_a_rotation_is_another_ca(ca, folder, rotation, clock, tmp_path):
    """A root that was dropped does not come back by restoring an old folder."""
    shutil.copytree(folder, tmp_path / "backup")
    rotation.prepare()
    shutil.copytree(folder, tmp_path / "prepared")
    rotation.activate()
    rotation.finish(force=True)
    kept = ca.bundle()
    for old in ("backup", "prepared"):
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / old, folder)
        with pytest.raises(AnotherCA):
            ca.bundle()
    assert 1 == len(kept.roots)


def test_a_forged_cross_certificate_proves_nothing(ca, folder, rotation, clock, tmp_path):
    """A cross certificate counts by its signature, not by its name."""
    other = tmp_path / "other"
    LocalCA(other, "example.org", now=clock)
    foreign = Rotation(Vault(other), now=clock)
    foreign.prepare()
    foreign.activate()
    foreign.finish(force=True)
    ca.bundle()
    shutil.rmtree(folder)
    shutil.copytree(other, folder)
    with pytest.raises(AnotherCA):
        ca.bundle()


def test_a_reader_in_the_middle_of_a_commit(ca, folder, rotation, monkeypatch):
    """Who read the old state.json and finds its files swept away reads the new one."""
    rotation.prepare()
    rotation.activate()
    reader = LocalCA(folder, "example.org", now=ca._now)
    real = Vault._load
    before = []

    def load(self, raw):
        if not before:
            before.append(raw)
            rotation.finish(force=True)
        return real(self, raw)

    reader._loaded = reader._loaded.__class__(
        **{
            name: getattr(reader._loaded, name)
            for name in reader._loaded.__slots__
            if name != "raw"
        },
        raw=b"",
    )
    with monkeypatch.context() as patch:
        patch.setattr(Vault, "_load", load)
        assert 1 == len(reader.bundle().roots)
    assert before


# -- modes and links


@pytest.mark.parametrize("name", ["state.json", "root-1-key.pem", "issuing-1-1-key.pem", "ca.lock"])
@pytest.mark.parametrize("flaw", ["a symlink", "mode 0640"])
def test_flawed_files_stop_a_rotation(ca, folder, rotation, tmp_path, name, flaw):
    """A symlink or a wider mode, on any file that counts, is refused and nothing is changed."""
    path = folder / name
    if flaw == "a symlink":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.chmod(0o640)
    before = sorted(each.name for each in folder.iterdir())
    with pytest.raises(ConfigError, match=r"symlink|0640"):
        rotation.prepare()
    assert before == sorted(each.name for each in folder.iterdir())


def test_a_folder_opened_to_others_at_run_time(ca, folder, rotation):
    """The folder is looked at every time, not only at the start."""
    folder.chmod(0o755)
    for act in (ca.bundle, rotation.prepare):
        with pytest.raises(ConfigError, match="0755"):
            act()


def test_all_files_are_private(ca, folder, rotation):
    """Whatever a rotation writes has mode 0600, under any umask."""
    before = os.umask(0)
    try:
        rotation.prepare()
        rotation.activate()
    finally:
        os.umask(before)
    assert {0o600} == {each.stat().st_mode & 0o777 for each in folder.iterdir()}


# -- crashes

STEPS = {
    "create": [],
    "prepare": [],
    "activate": ["prepare"],
    "finish": ["prepare", "activate"],
    "issuing": [],
}


def act(step, folder, clock):
    if step == "create":
        LocalCA(folder, "example.org", now=clock)
    elif step == "issuing":
        LocalCA(folder, "example.org", now=clock).issue(WEB)
    elif step == "finish":
        Rotation(Vault(folder), now=clock).finish(force=True)
    else:
        getattr(Rotation(Vault(folder), now=clock), step)()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_every_write(step, tmp_path):
    """Wherever a step is killed, old and new processes go on, and the step can be done again.

    Fails when files are written in place instead of renamed into place (hand mutation).
    """
    number, alive = 0, True
    while alive:
        clock, folder = Clock(), tmp_path / f"{number}"
        old = None
        if step != "create":
            old = LocalCA(folder, "example.org", now=clock)
            for each in STEPS[step]:
                act(each, folder, clock)
        before = old and look(old)
        clock.now += 0.7 * 365 * 86400 if step == "issuing" else 0
        alive = killed_at(number, partial(act, step, folder, clock))
        if old:
            after, new = look(old), look(LocalCA(folder, "example.org", now=clock, create=False))
            assert after.bundle == new.bundle
            for leaf in (before.leaf, after.leaf, new.leaf):
                for bundle in (before.bundle, after.bundle):
                    assert trusts(bundle, leaf, leaf.not_after - 60)
        act(step, folder, clock)
        last = LocalCA(folder, "example.org", now=clock)
        assert trusts(last.bundle(), last.issue(WEB), clock.now)
        assert [] == list(folder.glob(".new-*"))
        loaded = Vault(folder).current()
        names = {each.name for each in folder.iterdir()}
        Vault(folder).sweep(loaded.state)
        assert names == {each.name for each in folder.iterdir()}
        number += 1
    assert number > 20


def test_what_does_not_read_back_is_not_committed(ca, folder, rotation, monkeypatch):
    """A certificate that was written wrongly is found before it counts."""
    before = (folder / "state.json").read_bytes()
    monkeypatch.setattr(Vault, "write_certificate", lambda *_: None)
    with pytest.raises((IdentityUnavailable, FileNotFoundError)):
        rotation.prepare()
    assert before == (folder / "state.json").read_bytes()
