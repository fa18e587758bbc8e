"""Whatever bytes an attacker chooses, the readers of them refuse, and never break or believe."""

from __future__ import annotations

import time

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import assume, given
from hypothesis import strategies as st

from meshlib.serve.admission import Head, claims_identity, flaw_of
from meshlib.serve.asgi import _without_claims
from meshlib.serve.wsgi import _remove_claims
from meshlib.testing.arena import Arena
from meshlib.testing.forge import raw_uri, tampered
from meshlib.trust.verify import Untrusted, check_leaf, verify_peer

ARENA = Arena(time.time())
GOOD = ARENA.issued().certificate.public_bytes(Encoding.DER)
ROOT = ARENA.ours.root.certificate.public_bytes(Encoding.DER)

claims = st.sampled_from(
    ["x-forwarded-client-cert", "x-spiffe-id", "x-mesh-", "x-mesh-peer", "x-mesh-priority"]
)
spelled = st.tuples(claims, st.integers(0), st.integers(0))
others = st.from_regex(r"[!#$%&'*+.^_`|~0-9a-z-]{1,20}", fullmatch=True)


def bent(spelling):
    """A claim with some letters raised and some of its `-` written as `_`."""
    name, upper, under = spelling
    pairs = enumerate(name)
    letters = (each.upper() if upper >> at & 1 else each for at, each in pairs)
    return "".join("_" if c == "-" and under >> at & 1 else c for at, c in enumerate(letters))


def is_claim(name):
    """The rule, said plainly."""
    plain = name.lower().replace("_", "-")
    return plain in {"x-forwarded-client-cert", "x-spiffe-id"} or plain.startswith("x-mesh-")


@given(st.lists(st.one_of(spelled.map(bent), others), max_size=8))
def test_no_claim_is_left_and_nothing_else_goes(names):
    """ASGI and WSGI alike hand on exactly the headers that claim nothing, in their order."""
    raw = [(name.lower().encode(), b"1") for name in names]
    kept = [pair for pair in raw if not is_claim(pair[0].decode())]
    assert kept == list(_without_claims(raw))
    environ = {f"HTTP_{name.upper().replace('-', '_')}": "1" for name in names}
    expected = {key for key in environ if not is_claim(key[5:])}
    _remove_claims(environ)
    assert expected == environ.keys()


@given(st.one_of(spelled.map(bent), others, st.text(max_size=30)))
def test_what_is_a_claim(name):
    """The pattern says of every name what the rule says."""
    assume("\u0130" not in name)
    assume(name.isascii())
    assert is_claim(name) == claims_identity(name)


@given(
    st.builds(
        Head,
        st.one_of(st.sampled_from(["1.0", "1.1", "2"]), st.text(max_size=4)),
        st.one_of(st.just("/"), st.text(max_size=6)),
        st.integers(0, 3),
        st.integers(0, 3),
        st.integers(0, 3),
        st.one_of(st.just("chunked"), st.text(max_size=8)),
    )
)
def test_only_what_reads_in_one_way_has_no_flaw(head):
    """A head passes if everything about it is single and known, and not otherwise."""
    framed = head.lengths + head.encodings <= 1
    chunked = not head.encodings or (head.version != "1.0" and head.encoding.lower() == "chunked")
    hosts = head.hosts == 1 or (head.hosts == 0 and head.version != "1.1")
    known = head.version in {"1.0", "1.1", "2"} and head.target.startswith("/")
    assert (framed and chunked and hosts and known) == (flaw_of(head) == "")


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=4))
def test_bent_certificates(changes):
    """A certificate with bytes changed is refused as untrusted, or still is of the domain's own."""
    bytes_ = bytearray(GOOD)
    for at, value in changes:
        bytes_[at] = value
    checked(bytes(bytes_))


@given(st.binary(max_size=300))
def test_no_certificate_at_all(data):
    """Bytes that are no certificate are refused as untrusted, and by nothing else."""
    try:
        check_leaf(data, ARENA.now)
    except Untrusted:
        return
    raise AssertionError(data)


@given(st.one_of(st.binary(max_size=80), st.text(max_size=40).map(lambda text: text.encode())))
def test_names_of_any_bytes(name):
    """Whatever stands in the URI, with a signature that is right: refused, unless it is an id."""
    assume(b"/" not in name[:1])
    checked(
        ARENA.issued(raw_names=raw_uri(b"spiffe://example.org" + name)).certificate.public_bytes(
            Encoding.DER
        )
    )


def checked(der):
    """Verify it as if OpenSSL had: what passes names a plain id of our domain."""
    try:
        peer = verify_peer(der, [der, ROOT], ARENA.credentials(), lambda _: True, ARENA.now)
    except Untrusted:
        return
    text = str(peer.spiffe_id)
    assert text.isascii()
    assert text.startswith("spiffe://example.org/")
    assert set() == set(text) & set("%?#@\\ \0\r\n")


def test_two_subject_alternative_names():
    """A certificate with the extension twice is refused, as no two readers agree which counts."""
    unused, known = bytes.fromhex("0603551d63"), bytes.fromhex("0603551d11")
    second = x509.UnrecognizedExtension(
        x509.ObjectIdentifier("2.5.29.99"), raw_uri(ARENA.me.encode())
    )
    twice = tampered(ARENA.issued(extra=[(second, False)]), unused, known, ARENA.ours.root)
    try:
        check_leaf(twice.certificate.public_bytes(Encoding.DER), ARENA.now)
    except Untrusted as exc:
        assert "read" in str(exc)  # noqa: PT017 - there is nothing else to see
    else:
        raise AssertionError(twice)
