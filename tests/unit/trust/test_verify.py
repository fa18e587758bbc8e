from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from meshlib.control.local.certs import key_usage
from meshlib.errors import ConfigError
from meshlib.model import Identity
from meshlib.testing.ca import ThrowawayCA
from meshlib.trust.bundle import TrustBundle
from meshlib.trust.spiffe import parse
from meshlib.trust.verify import (
    Untrusted,
    allow_ids,
    check_leaf,
    fellows_of,
    member_of,
    verify_peer,
)
from meshlib.watch import Watch

NOW = 1_800_000_000.0
CA = ThrowawayCA(now=NOW)
WEB = CA.id_of("web")
ROOT = CA.root.certificate.public_bytes(Encoding.DER)


def der(leaf):
    return x509.load_pem_x509_certificate(leaf.chain_pem).public_bytes(Encoding.DER)


def uri_names(*uris):
    """A SubjectAltName with URIs no library would encode."""
    entries = b"".join(bytes([0x86, len(uri)]) + uri for uri in uris)
    return bytes([0x30, len(entries)]) + entries


BAD_LEAVES = {
    "two ids": ({"uris": (WEB, CA.id_of("db"))}, "2 URI names"),
    "the same id twice": ({"uris": (WEB, WEB)}, "2 URI names"),
    "a DNS name only": ({"dns": ("web",)}, "0 URI names"),
    "no names": ({}, "0 URI names"),
    "no path": ({"uris": ("spiffe://example.org",)}, "an id with a path"),
    "upper case": ({"uris": ("SPIFFE://example.org/x",)}, "starts with"),
    "another scheme": ({"uris": ("https://example.org/x",)}, "starts with"),
    "a NUL": ({"names": uri_names(b"spiffe://example.org/web\0.evil")}, "path segments"),
    "not ASCII": ({"names": uri_names(b"spiffe://example.org/\xc3\xa9")}, "path segments"),
    "broken names": ({"names": b"\x30\x05\x86\x09"}, "cannot be read"),
    "expired": ({"uris": (WEB,), "until": -1}, "is not now"),
    "not yet valid": ({"uris": (WEB,), "since": 1}, "1 s ahead of the clock here"),
    "a CA": ({"uris": (WEB,), "ca": True}, "a leaf"),
    "may sign certificates": (
        {"uris": (WEB,), "usage": key_usage(digital_signature=True, key_cert_sign=True)},
        "certSign",
    ),
    "may sign CRLs": (
        {"uris": (WEB,), "usage": key_usage(digital_signature=True, crl_sign=True)},
        "crlSign",
    ),
    "may not sign": ({"uris": (WEB,), "usage": key_usage(key_agreement=True)}, "digitalSignature"),
}


@pytest.mark.parametrize(("leaf", "says"), BAD_LEAVES.values(), ids=BAD_LEAVES.keys())
def test_bad_leaf(leaf, says):
    """Each broken rule is refused with a sentence that names it."""
    with pytest.raises(Untrusted, match=says):
        check_leaf(der(CA.leaf(**leaf)), NOW)


def test_garbage_is_refused():
    """Bytes that are no certificate are refused, not a crash."""
    with pytest.raises(Untrusted, match="cannot be read"):
        check_leaf(b"\x30\x00", NOW)


def test_good_leaf():
    """A leaf that keeps all rules says who it is and until when."""
    leaf = CA.leaf(uris=(WEB,), dns=("also",))
    peer = check_leaf(der(leaf), NOW)
    assert (parse(WEB), leaf.not_after) == (peer.spiffe_id, peer.not_after)
    assert Identity(WEB, "web") == peer.identity


@pytest.mark.parametrize("edge", [-300.0, 86400.0])
def test_dates_are_inclusive(edge):
    """The first and the last second of a certificate are part of its life (RFC 5280)."""
    leaf = der(CA.leaf(uris=(WEB,)))
    check_leaf(leaf, NOW + edge)
    with pytest.raises(Untrusted):
        check_leaf(leaf, NOW + edge * (1 + 1e-4))


def verified(credentials, *, ca=CA, service="web", authorize=None, chain=None):
    leaf = der(ca.leaf(uris=(ca.id_of(service),)))
    root = ca.root.certificate.public_bytes(Encoding.DER)
    chain = (leaf, root) if chain is None else chain
    return verify_peer(leaf, chain, credentials, authorize or (lambda _: True), NOW)


def test_peer_remembers_its_anchor():
    """The root that vouched for the peer is kept, to be looked for later."""
    assert verified(CA.credentials("me")).anchor == ROOT


def test_unknown_trust_domain():
    """A domain without a bundle is refused with the ones that have one."""
    other = ThrowawayCA("other.org", now=NOW)
    with pytest.raises(Untrusted, match=r"'other.org', expected one of: example.org"):
        verified(CA.credentials("me"), ca=other)


def test_a_federated_root_vouches_for_its_own_domain_only():
    """A root that is trusted for other.org cannot vouch for example.org."""
    other = ThrowawayCA("other.org", now=NOW)
    credentials = CA.credentials("me", trust=[other])
    assert "other.org" == verified(credentials, ca=other).spiffe_id.trust_domain
    root = other.root.certificate.public_bytes(Encoding.DER)
    with pytest.raises(Untrusted, match=r"not of 'example.org'"):
        verified(credentials, chain=(b"leaf", root))


def test_no_chain_is_refused():
    """Without a chain that OpenSSL verified (a resumed session) nobody is trusted."""
    with pytest.raises(Untrusted, match="resumed"):
        verified(CA.credentials("me"), chain=())


@pytest.mark.parametrize("nothing", [None, b""])
def test_no_certificate_is_refused(nothing):
    """A peer without a certificate is nobody."""
    with pytest.raises(Untrusted, match="no certificate"):
        verify_peer(nothing, (), CA.credentials("me"), lambda _: True, NOW)


def test_authorizer_decides_last():
    """A proven id that is not wanted is refused by name."""
    verified(CA.credentials("me"), authorize=allow_ids(WEB))
    with pytest.raises(Untrusted, match=f"the peer is {WEB}"):
        verified(CA.credentials("me"), authorize=allow_ids(CA.id_of("db")))


def test_authorizers():
    """allow_ids knows ids, member_of knows domains, and neither takes nonsense."""
    assert allow_ids(WEB, CA.id_of("db"))(parse(WEB))
    assert not allow_ids()(parse(WEB))
    assert member_of("example.org")(parse(WEB))
    assert not member_of("example.com")(parse(WEB))
    with pytest.raises(ConfigError):
        allow_ids("web")
    with pytest.raises(ConfigError):
        member_of("Example.org")


def test_still_trusted():
    """A peer is trusted while its certificate lives and its root is in its domain's bundle."""
    credentials = CA.credentials("me")
    peer = verified(credentials)
    assert peer.still_trusted(credentials, peer.not_after)
    assert not peer.still_trusted(credentials, peer.not_after + 1)
    elsewhere = {"other.org": TrustBundle("other.org", frozenset({ROOT}))}
    assert not peer.still_trusted(replace(credentials, bundles=elsewhere), NOW)
    emptied = {"example.org": TrustBundle("example.org", frozenset())}
    assert not peer.still_trusted(replace(credentials, bundles=emptied), NOW)


def test_reprs_show_no_secrets():
    """Printing credentials or peers shows no key and no certificate bytes."""
    credentials = CA.credentials("me")
    key = credentials.leaf.key_pem.splitlines()[1].decode()
    assert key not in repr(credentials)
    assert "PRIVATE" not in repr(credentials)
    assert "der=" not in repr(verified(credentials))


def test_fellows_are_of_the_domain_of_ones_own_leaf():
    """It is looked up each time: a mesh that was rebuilt has another domain."""
    watch = Watch(ThrowawayCA("one.org", now=NOW).credentials("web"), ready=True)
    fellow = fellows_of(watch)
    one, two = parse("spiffe://one.org/x"), parse("spiffe://two.org/x")
    assert (True, False) == (fellow(one), fellow(two))
    watch.set(ThrowawayCA("two.org", now=NOW).credentials("web", generation=2))
    assert (False, True) == (fellow(one), fellow(two))
