"""SVIDs that a broken or taken agent could hand out: refused with a reason, the last ones stay."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa, x448
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from meshlib.control.spiffe.messages import SvidMessage, SvidResponse
from meshlib.control.spiffe.svid import SvidRefused, judge
from meshlib.testing.ca import ThrowawayCA
from meshlib.testing.forge import CA_USAGE, Forge, Wish, der, raw_uri, uris
from meshlib.testing.workload_api import response

NOW = time.time()
CA, OTHER = ThrowawayCA(now=NOW), ThrowawayCA(now=NOW)
FORGE = Forge(NOW)
ID = CA.id_of("web")
VERSION_3, VERSION_6 = bytes.fromhex("a003020102"), bytes.fromhex("a003020105")


def leaf(issuer=CA.root, key=None, **wish):
    return FORGE.certificate(issuer, Wish(**{"names": uris(ID), **wish}), key)


def sent(made, *chain, roots=(CA.root,), key=None):
    """An answer with these certificates."""
    ders = [each.certificate.public_bytes(Encoding.DER) for each in (made, *chain)]
    secret = (key or made.key).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    bundle = b"".join(each.certificate.public_bytes(Encoding.DER) for each in roots)
    return SvidResponse((SvidMessage(ID, b"".join(ders), secret, bundle),))


def of_version_6(answer, field):
    """The same, with its last certificate of a version that does not exist."""
    [svid] = answer.svids
    before, _, after = getattr(svid, field).rpartition(VERSION_3)
    return SvidResponse((replace(svid, **{field: before + VERSION_6 + after}),))


ISSUING = FORGE.authority(CA.root)
LEAF = leaf().certificate.public_bytes(Encoding.DER)
FORGED = {
    "of another root": lambda: sent(leaf(OTHER.root)),
    "signed by itself": lambda: sent(leaf(None)),
    "without its intermediate": lambda: sent(leaf(ISSUING)),
    "beneath a leaf": lambda: sent(leaf(leaf()), leaf()),
    "an intermediate that is none": lambda: sent(
        leaf(no := FORGE.authority(CA.root, ca=False)), no
    ),
    "an intermediate that is over": lambda: sent(
        leaf(old := FORGE.authority(CA.root, since=-9, until=-1)), old
    ),
    "a chain in disorder": lambda: sent(leaf(ISSUING), CA.root, ISSUING),
    "an authority as a leaf": lambda: sent(leaf(ca=True, usage=CA_USAGE)),
    "two ids": lambda: sent(leaf(names=uris(ID, CA.id_of("db")))),
    "no id": lambda: sent(leaf(names=())),
    "a NUL in the id": lambda: sent(leaf(names=(), raw_names=raw_uri(ID.encode() + b"\0.evil"))),
    "names that cannot be read": lambda: sent(leaf(names=(), raw_names=der(0x30, b"\x86"))),
    "not yet": lambda: sent(leaf(since=-7200, until=-3600)),
    "a bundle with a leaf": lambda: sent(leaf(), roots=(CA.root, leaf())),
    "a bundle of another version": lambda: of_version_6(sent(leaf()), "bundle"),
    "a chain of another version": lambda: of_version_6(sent(leaf(ISSUING), ISSUING), "chain"),
    "a leaf of another version": lambda: of_version_6(sent(leaf()), "chain"),
    "a short key": lambda: sent(leaf(key=rsa.generate_private_key(65537, 1024))),
    "a key that cannot sign": lambda: sent(leaf(), key=x448.X448PrivateKey.generate()),
    "a key for DSA": lambda: sent(leaf(key=dsa.generate_private_key(2048))),
    "a key of another kind": lambda: sent(leaf(), key=ec.generate_private_key(ec.SECP384R1())),
}


@pytest.mark.parametrize("make", FORGED.values(), ids=FORGED)
def test_forged(make):
    """None of it is an identity."""
    with pytest.raises(SvidRefused) as refused:
        judge(make(), NOW)
    assert refused.value.why


GOOD = {
    "a leaf": lambda: sent(leaf()),
    "with its intermediate": lambda: sent(leaf(ISSUING), ISSUING),
    "with what others need": lambda: sent(
        leaf(CA.root), FORGE.crossed(CA.root, OTHER.root), roots=(CA.root,)
    ),
    "of the next root": lambda: sent(
        leaf(), FORGE.crossed(CA.root, OTHER.root), roots=(OTHER.root,)
    ),
}


@pytest.mark.parametrize("make", GOOD.values(), ids=GOOD)
def test_good(make):
    """What is made with the same tools and nothing wrong is one."""
    assert [ID] == [each.leaf.spiffe_id for each in judge(make(), NOW).identities]


@pytest.mark.parametrize(
    "bad", [of_version_6(sent(leaf()), "bundle").svids[0].bundle, LEAF], ids=["version", "leaf"]
)
def test_a_federated_bundle_that_is_forged(bad):
    """Costs only its own domain."""
    good = sent(leaf())
    answer = judge(SvidResponse(good.svids, {"spiffe://partner.org": bad}), NOW)
    assert ({}, 1) == (answer.federated, len(answer.refused))


def test_a_listener_that_fails(api, source, ca, until):
    """Does not end the renewals."""

    def event(kind, subject, text):
        raise RuntimeError(f"{kind} {subject} {text}")

    api.say(response(ca, "web"))
    watch = source(event=event).credentials("web")
    first = watch.value
    api.say(b"\xff")
    assert api.await_calls(2)
    api.say(response(ca, "web"))
    until(watch, lambda it: it.leaf != first.leaf)
