"""Identity from a folder that somebody else writes: whatever happens in it, what is used fits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from meshlib.control.files import FilesIdentity
from meshlib.control.local.certs import Life, Signer, ca_certificate, chain_pem, key_pem, new_key
from meshlib.control.local.certs import leaf_certificate as certified
from meshlib.errors import IdentityUnavailable
from meshlib.testing.ca import DAY, ThrowawayCA
from meshlib.testing.forge import Forge, Wish, uris
from meshlib.trust.spiffe import service_id

NOW = 1_700_000_000.0
CA, OTHER = ThrowawayCA(now=NOW), ThrowawayCA(now=NOW)


def root_pem(ca=CA):
    return ca.root.certificate.public_bytes(Encoding.PEM)


def leaf(service="backend", ca=CA, **how):
    return ca.leaf(uris=(ca.id_of(service),), **how)


def put(folder, made, roots=None, names=("tls.crt", "tls.key", "ca.crt")):
    folder.mkdir(exist_ok=True)
    texts = made.chain_pem, made.key_pem, roots or root_pem()
    for name, text in zip(names, texts, strict=True):
        (folder / name).write_bytes(text)


class World:
    """A folder, a clock, and what is heard."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now, self.events = folder, NOW, []
        self.identity = FilesIdentity(
            folder, now=lambda: self.now, event=lambda *told: self.events.append(told), poll=3600
        )

    @property
    def kinds(self):
        return [kind for kind, _, _ in self.events]

    def look(self, times=1):
        for _ in range(times):
            self.identity.look()


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path / "svid")
    yield made
    made.identity.close()


@pytest.fixture
def watch(world):
    """The credentials of a good folder."""
    put(world.folder, leaf())
    return world.identity.credentials("backend")


@pytest.mark.parametrize(
    "names",
    [
        ("tls.crt", "tls.key", "ca.crt"),
        ("svid.pem", "svid_key.pem", "svid_bundle.pem"),
        ("svid.0.pem", "svid.0.key", "bundle.0.pem"),
    ],
)
def test_the_first_answer(world, names):
    """It is there at once, under the names of whoever wrote it; the neighbours are known by it."""
    put(world.folder, leaf(), names=names)
    found = world.identity.credentials("backend")
    assert CA.id_of("backend") == found.value.leaf.spiffe_id
    assert {CA.trust_domain: CA.bundle} == found.value.bundles
    assert found is world.identity.credentials("backend")
    assert CA.id_of("db") == world.identity.spiffe_id("db")


def test_a_new_certificate_is_used(world, watch):
    """With the next look; the same files are no rotation."""
    world.look()
    assert 1 == watch.value.generation
    new = leaf()
    put(world.folder, new)
    world.look()
    assert (new.chain_pem, 2) == (watch.value.leaf.chain_pem, watch.value.generation)
    assert [] == world.events


def test_new_roots_are_used(world, watch):
    """By themselves, too, and it is told of."""
    put(world.folder, watch.value.leaf, root_pem() + root_pem(OTHER))
    world.look()
    roots = watch.value.bundles[CA.trust_domain].roots
    assert CA.bundle.roots | OTHER.bundle.roots == roots
    assert ["roots-changed"] == world.kinds


@pytest.mark.parametrize("name", ["ca.crt", "tls.crt"])
def test_torn_within_the_last_certificate(world, watch, name):
    """A parser that passes over what has no end must not cost a root."""
    second = root_pem(OTHER)
    whole = (root_pem() if name == "ca.crt" else watch.value.leaf.chain_pem) + second
    (world.folder / name).write_bytes(whole[: -len(second) // 2])
    world.look(2)
    assert 1 == watch.value.generation
    assert ["leaf-refused"] == world.kinds
    assert "cut short" in world.events[0][2]


def kubernetes(folder, generation, made):
    """What kubelet does: a folder of the new generation, and one link swapped."""
    folder.mkdir(exist_ok=True)
    place = folder / f"..2026_{generation}"
    put(place, made)
    (folder / "..data_tmp").symlink_to(place.name)
    os.replace(folder / "..data_tmp", folder / "..data")  # noqa: PTH105 - what kubelet does
    for name in ("tls.crt", "tls.key", "ca.crt"):
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    return place


def test_a_secret_that_kubernetes_mounts(world):
    """The swap of the link is all that is seen of a new generation, and the old one may go."""
    old = kubernetes(world.folder, 1, leaf())
    watch = world.identity.credentials("backend")
    new = leaf()
    kubernetes(world.folder, 2, new)
    for file in old.iterdir():
        file.unlink()
    old.rmdir()
    world.look()
    assert new.chain_pem == watch.value.leaf.chain_pem
    assert [] == world.events


def intermediate(made=CA):
    key = new_key()
    life = Life(NOW - DAY, NOW + DAY)
    return Signer(ca_certificate("issuing", key, life, made.root, path_length=0), key)


def test_a_chain_with_an_intermediate(world):
    """In order it is used."""
    signer, key = intermediate(), new_key()
    uri = str(service_id(CA.trust_domain, "backend"))
    certificate = certified(key.public_key(), uri, Life(NOW - 9, NOW + 9), signer)
    made = leaf()
    put(world.folder, made)
    (world.folder / "tls.crt").write_bytes(chain_pem(certificate, signer.certificate))
    (world.folder / "tls.key").write_bytes(key_pem(key))
    assert NOW + 9 == world.identity.credentials("backend").value.leaf.not_after


GOOD = leaf()
BAD = {
    "the key of another certificate": {"tls.key": leaf().key_pem},
    "half a certificate": {"tls.crt": GOOD.chain_pem[:300]},
    "half a key": {"tls.key": GOOD.key_pem[:80]},
    "half a root": {"ca.crt": root_pem()[:300]},
    "an empty certificate": {"tls.crt": b""},
    "an empty key": {"tls.key": b""},
    "no roots": {"ca.crt": b""},
    "no key": {"tls.key": None},
    "no file of roots": {"ca.crt": None},
    "a huge file": {"tls.crt": b"x" * (2 << 20)},
    "another root": {"ca.crt": root_pem(OTHER)},
    "a chain out of order": {"tls.crt": root_pem() + GOOD.chain_pem},
    "a chain with a stranger in it": {"tls.crt": GOOD.chain_pem + root_pem(OTHER)},
    "an intermediate in place of the root": {
        "ca.crt": intermediate().certificate.public_bytes(Encoding.PEM)
    },
}
for what, made in {
    "one that has expired": leaf(since=-100, until=-1),
    "one that is not valid yet": leaf(since=60),
    "one of another service": leaf("frontend"),
    "one of another CA": leaf(ca=OTHER),
    "one without an id": CA.leaf(dns=("backend",)),
    "one with two ids": CA.leaf(uris=(CA.id_of("backend"), CA.id_of("frontend"))),
    "one with an id of another form": CA.leaf(uris=("spiffe://example.org/ns/a/sa/backend",)),
    "a CA": CA.leaf(uris=(CA.id_of("backend"),), ca=True),
}.items():
    BAD[what] = {"tls.crt": made.chain_pem, "tls.key": made.key_pem}


def spoil(folder, what):
    for name, data in BAD[what].items():
        if data is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(data)


@pytest.mark.parametrize("what", BAD)
def test_what_does_not_fit_is_not_used(world, watch, what):
    """What was good stays; once it lasts it is told of, once, and when it is over as well."""
    put(world.folder, GOOD)
    world.look()
    before = watch.value
    spoil(world.folder, what)
    world.look()
    assert (before, []) == (watch.value, world.events)
    world.look(3)
    assert before is watch.value
    assert ["leaf-refused"] == world.kinds
    assert all(b"KEY" not in str(told).encode() for told in world.events)
    put(world.folder, leaf())
    world.look()
    assert before.generation + 1 == watch.value.generation
    assert ["leaf-refused", "identity-restored"] == world.kinds


@pytest.mark.parametrize("what", [*BAD, "nothing"])
def test_it_begins_with_nothing_bad(world, what):
    """There is no last good one yet: the start fails, and says why."""
    if what != "nothing":
        put(world.folder, GOOD)
        spoil(world.folder, what)
    with pytest.raises(IdentityUnavailable) as refused:
        world.identity.credentials("backend")
    assert refused.value.why or refused.value.hint


def test_torn_writes_at_every_byte(world, watch):
    """However far the new files have got, what is used is the old pair or the new one."""
    old, new = watch.value.leaf, leaf()
    for name, data in ("tls.crt", new.chain_pem), ("tls.key", new.key_pem):
        for size in range(0, len(data), 17):
            (world.folder / name).write_bytes(data[:size])
            world.look()
            assert old is watch.value.leaf
        (world.folder / name).write_bytes(data)
    world.look()
    assert (new.chain_pem, new.key_pem) == (watch.value.leaf.chain_pem, watch.value.leaf.key_pem)


def test_a_certificate_that_nobody_renews(world, watch):
    """It is said at nine tenths of its life and at its end; then calls say why they fail."""
    life = watch.value.leaf.not_after - watch.value.leaf.not_before
    world.now = watch.value.leaf.not_before + 0.95 * life
    world.look(2)
    world.now += life
    world.look(2)
    assert ["leaf-overdue", "leaf-expired"] == world.kinds
    assert str(world.folder) in watch.value.trouble
    assert watch.value.remedy
    put(world.folder, leaf(since=-60, until=world.now + life - NOW))
    world.look()
    assert "" == watch.value.trouble


def test_one_that_becomes_valid(world, watch):
    """What was refused for its time is used when its time has come."""
    put(world.folder, leaf(since=60))
    world.look()
    assert 1 == watch.value.generation
    world.now += 61
    world.look()
    assert 2 == watch.value.generation


def test_a_key_that_is_too_short(world, watch):
    """What OpenSSL would not show is not used: the rotation would be an outage."""
    forge = Forge(NOW)
    wish = Wish(names=uris(CA.id_of("backend")))
    short = forge.certificate(CA.root, wish, rsa.generate_private_key(65537, 1024))
    put(world.folder, forge.shown(short))
    world.look(2)
    assert 1 == watch.value.generation
    assert "OpenSSL does not take it" in world.events[0][2]


def test_a_chain_that_goes_on_for_those_who_know_the_old_root(world):
    """The cross certificate of a rotation may stand in it when the old root is gone."""
    old, forge = ThrowawayCA(now=NOW), Forge(NOW)
    made = forge.certificate(CA.root, Wish(names=uris(CA.id_of("backend"))))
    put(world.folder, forge.shown(made, forge.crossed(CA.root, old.root)))
    assert CA.id_of("backend") == world.identity.credentials("backend").value.leaf.spiffe_id
