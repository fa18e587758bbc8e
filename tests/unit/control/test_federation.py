"""Bundles of other trust domains from a folder: each speaks for its own domain only."""

from __future__ import annotations

import os

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from meshlib.control.federation import Federation, parse_bundle
from meshlib.control.files import FilesIdentity
from meshlib.control.local.ca import LocalCA
from meshlib.control.local.federation import distrust_domain, trust_domain
from meshlib.control.local.identity import LocalIdentity
from meshlib.control.local.vault import Vault
from meshlib.errors import ConfigError
from meshlib.runtime import new_rng
from meshlib.testing.ca import ThrowawayCA

NOW = 1_700_000_000.0
CA, PARTNER, THIRD = (
    ThrowawayCA(each, now=NOW) for each in ("example.org", "partner.org", "third.org")
)


def pem(*authorities):
    return b"".join(each.root.certificate.public_bytes(Encoding.PEM) for each in authorities)


class World:
    """A folder of bundles, and what is heard."""

    def __init__(self, folder):
        folder.mkdir()
        self.folder, self.events = folder, []
        self._federation = Federation(
            folder, lambda path: path.read_bytes(), lambda *told: self.events.append(told)
        )

    def put(self, name, data):
        (self.folder / name).write_bytes(data)

    def look(self):
        return dict(self._federation.look("example.org"))


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "bundles")


def test_what_is_there_is_trusted_and_what_is_gone_is_not(world):
    """From one look to the next."""
    assert {} == world.look()
    world.put("partner.org.pem", pem(PARTNER))
    world.put("third.org.pem", pem(THIRD))
    assert {"partner.org": PARTNER.bundle, "third.org": THIRD.bundle} == world.look()
    (world.folder / "partner.org.pem").unlink()
    assert {"third.org": THIRD.bundle} == world.look()
    assert [] == world.events


def test_other_files_are_no_bundles(world):
    """Neither what an editor leaves behind nor what is hidden is trusted for anybody."""
    for name in "partner.org.pem.bak", "partner.org", ".partner.org.pem":
        world.put(name, pem(PARTNER))
    assert [{}, {}] == [world.look(), world.look()]
    assert [] == world.events


def test_no_folder(world):
    """Is the same as an empty one."""
    world.put("partner.org.pem", pem(PARTNER))
    world.look()
    (world.folder / "partner.org.pem").unlink()
    world.folder.rmdir()
    assert ({}, []) == (world.look(), world.events)


BAD = {
    "ours": ("example.org.pem", pem(PARTNER)),
    "no name": ("Partner.org.pem", pem(PARTNER)),
    "empty": ("partner.org.pem", b""),
    "torn": ("partner.org.pem", pem(PARTNER)[:200]),
    "torn second": ("partner.org.pem", pem(PARTNER) + pem(THIRD)[:200]),
    "a leaf": ("partner.org.pem", PARTNER.leaf(uris=(PARTNER.id_of("x"),)).chain_pem),
}


@pytest.mark.parametrize(("name", "data"), BAD.values(), ids=BAD)
def test_what_cannot_be_used(world, name, data):
    """Costs only its own domain, and is told of once, when it lasts."""
    world.put("third.org.pem", pem(THIRD))
    world.put(name, data)
    for told in 0, 1, 1:
        assert {"third.org": THIRD.bundle} == world.look()
        assert told == len(world.events)
    assert ("roots-refused", name) == world.events[0][:2]


@pytest.mark.parametrize("data", [b"", pem(PARTNER)[:99]], ids=["empty", "torn"])
def test_a_file_that_is_being_written(world, data):
    """What was read before stays meanwhile, and nobody is woken."""
    world.put("partner.org.pem", pem(PARTNER))
    world.look()
    world.put("partner.org.pem", data)
    assert {"partner.org": PARTNER.bundle} == world.look()
    world.put("partner.org.pem", pem(PARTNER, THIRD))
    assert PARTNER.bundle.roots | THIRD.bundle.roots == world.look()["partner.org"].roots
    assert [] == world.events


def test_a_config_map_that_kubernetes_mounts(world):
    """All bundles are of one generation, and its bookkeeping is no bundle."""
    for number, ca in enumerate((PARTNER, THIRD)):
        place = world.folder / f"..{number}"
        place.mkdir()
        (place / f"{ca.trust_domain}.pem").write_bytes(pem(ca))
        (world.folder / "..data_tmp").symlink_to(place.name)
        os.replace(world.folder / "..data_tmp", world.folder / "..data")  # noqa: PTH105
        assert {ca.trust_domain: ca.bundle} == world.look()
    assert [] == world.events


@pytest.mark.parametrize("domain", [".partner", "..", "", "a/b", "a\0b", "partner.org:8443"])
def test_names_of_domains(domain):
    """A name is one of a trust domain, and never a path."""
    with pytest.raises(ValueError, match=r"begins with a dot|trust domain"):
        parse_bundle(domain, pem(PARTNER), "example.org")


def test_beside_certificates_from_files(tmp_path):
    """Foreign bundles come and go while the certificate stays; none is about our own."""
    made, folder = CA.leaf(uris=(CA.id_of("web"),)), tmp_path
    for name, data in ("tls.crt", made.chain_pem), ("tls.key", made.key_pem), ("ca.crt", pem(CA)):
        (folder / name).write_bytes(data)
    (folder / "bundles").mkdir()
    (folder / "bundles" / "partner.org.pem").write_bytes(pem(PARTNER))
    (folder / "bundles" / "example.org.pem").write_bytes(pem(THIRD))
    events = []
    identity = FilesIdentity(
        folder, now=lambda: NOW, event=lambda *told: events.append(told), poll=3600
    )
    try:
        watch = identity.credentials("web")
        assert {"example.org": CA.bundle, "partner.org": PARTNER.bundle} == watch.value.bundles
        (folder / "bundles" / "partner.org.pem").unlink()
        identity.look()
        assert ({"example.org": CA.bundle}, 2) == (watch.value.bundles, watch.value.generation)
        assert {"roots-changed", "roots-refused"} == {kind for kind, _, _ in events}
    finally:
        identity.close()


@pytest.fixture
def vault(tmp_path):
    LocalCA(tmp_path / "home", "example.org", now=lambda: NOW)
    return Vault(tmp_path / "home")


def test_beside_the_local_ca(vault):
    """What is trusted by command is trusted by those who run, without a new leaf."""
    identity = LocalIdentity(vault.folder, "example.org", now=lambda: NOW, rng=new_rng(), poll=3600)
    try:
        watch = identity.credentials("web")
        leaf = watch.value.leaf
        assert PARTNER.bundle == trust_domain(vault, "partner.org", pem(PARTNER))
        identity.renew_due()
        assert PARTNER.bundle == watch.value.bundles["partner.org"]
        assert distrust_domain(vault, "partner.org")
        assert not distrust_domain(vault, "partner.org")
        identity.renew_due()
        assert ({"example.org"}, leaf) == (set(watch.value.bundles), watch.value.leaf)
    finally:
        identity.close()


def test_a_bundle_that_others_can_write(vault):
    """In the folder of the CA everything is only its owner's, or not used."""
    trust_domain(vault, "partner.org", pem(PARTNER))
    (vault.folder / "bundles" / "partner.org.pem").chmod(0o666)
    identity = LocalIdentity(vault.folder, "example.org", now=lambda: NOW, rng=new_rng(), poll=3600)
    try:
        assert {"example.org"} == set(identity.credentials("web").value.bundles)
    finally:
        identity.close()


@pytest.mark.parametrize(
    ("domain", "data"),
    [("example.org", pem(PARTNER)), ("partner.org", b"x"), ("..", pem(PARTNER)), ("/", pem(CA))],
    ids=["ours", "garbage", "dots", "slash"],
)
def test_what_cannot_be_trusted_by_command(vault, domain, data):
    """Is refused, and nothing is written."""
    with pytest.raises(ConfigError):
        trust_domain(vault, domain, data)
    assert not (vault.folder / "bundles").exists()
