import json
import subprocess
from dataclasses import dataclass
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from meshlib.control.local.ca import ISSUING_TTL, LEAF_TTL, ROOT_TTL, LocalCA
from meshlib.errors import ConfigError, ControlError, IdentityUnavailable
from meshlib.trust.spiffe import SpiffeId, service_id
from meshlib.trust.verify import check_leaf

WEB = service_id("example.org", "web")
START = 1_800_000_000.0


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


def certificates(chain_pem):
    return x509.load_pem_x509_certificates(chain_pem)


def seconds(certificate):
    return (
        certificate.not_valid_before_utc.timestamp(),
        certificate.not_valid_after_utc.timestamp(),
    )


def extension(certificate, kind):
    return certificate.extensions.get_extension_for_class(kind)


def test_leaf(ca):
    """A leaf has no subject, one critical URI name, and may only sign handshakes, for 72 h."""
    issued = ca.issue(WEB)
    leaf = certificates(issued.chain_pem)[0]
    assert (START - 300, START + 72 * 3600) == seconds(leaf)
    assert (issued.not_before, issued.not_after) == seconds(leaf)
    assert str(WEB) == issued.spiffe_id
    assert x509.Name([]) == leaf.subject
    names = extension(leaf, x509.SubjectAlternativeName)
    assert (True, [str(WEB)]) == (names.critical, [name.value for name in names.value])
    usage = extension(leaf, x509.KeyUsage).value
    assert (True, False, False) == (usage.digital_signature, usage.key_cert_sign, usage.crl_sign)
    both = {x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH, x509.oid.ExtendedKeyUsageOID.SERVER_AUTH}
    assert both == set(extension(leaf, x509.ExtendedKeyUsage).value)
    assert not extension(leaf, x509.BasicConstraints).value.ca
    assert "secp256r1" == leaf.public_key().curve.name
    assert leaf.public_key() == load_pem_private_key(issued.key_pem, None).public_key()
    assert WEB == check_leaf(leaf.public_bytes(Encoding.DER), START).spiffe_id


def test_chain(ca):
    """Root (10 years, path length 2) vouches for issuing (1 year, 0), and that for the leaf."""
    leaf, issuing = certificates(ca.issue(WEB).chain_pem)
    root = x509.load_der_x509_certificate(next(iter(ca.bundle().roots)))
    leaf.verify_directly_issued_by(issuing)
    issuing.verify_directly_issued_by(root)
    lengths = [extension(each, x509.BasicConstraints).value.path_length for each in (root, issuing)]
    assert [2, 0] == lengths
    assert (START - 300, START + ROOT_TTL) == seconds(root)
    assert (START - 300, START + ISSUING_TTL) == seconds(issuing)


def test_openssl_agrees(ca, tmp_path, real_component):
    """`openssl verify -x509_strict` accepts the chain as client and as server."""
    openssl = real_component("openssl")
    leaf, issuing = certificates(ca.issue(WEB).chain_pem)
    root = x509.load_der_x509_certificate(next(iter(ca.bundle().roots)))
    for name, each in (("leaf", leaf), ("issuing", issuing), ("root", root)):
        (tmp_path / name).write_bytes(each.public_bytes(Encoding.PEM))
    for purpose in ("sslclient", "sslserver"):
        command = [openssl, "verify", "-x509_strict", "-purpose", purpose]
        command += ["-attime", str(int(START)), "-CAfile", "root", "-untrusted", "issuing", "leaf"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (0, "leaf: OK\n") == (done.returncode, done.stdout), done.stderr


def test_every_leaf_has_its_own_key(ca):
    """Two leaves share neither key nor serial number."""
    first, second = ca.issue(WEB), ca.issue(WEB)
    assert first.key_pem != second.key_pem
    numbers = {certificates(each.chain_pem)[0].serial_number for each in (first, second)}
    assert 2 == len(numbers)


def test_the_life_of_a_leaf_is_a_parameter(folder, clock):
    """A short leaf is backdated by a tenth of its life, so that two thirds of it lie ahead."""
    leaf = LocalCA(folder, "example.org", now=clock, leaf_ttl=60).issue(WEB)
    assert (START - 6, START + 60) == (leaf.not_before, leaf.not_after)


@pytest.mark.parametrize("ttl", [0, -1, 0.5, ISSUING_TTL, float("nan"), float("inf")])
def test_leaf_ttl_is_checked(folder, clock, ttl):
    """A leaf that lives no time, or longer than what vouches for it, is a ConfigError."""
    with pytest.raises(ConfigError, match="leaf_ttl"):
        LocalCA(folder, "example.org", now=clock, leaf_ttl=ttl)
    assert not folder.exists()


@pytest.mark.parametrize("text", ["other.org/web", "example.org"])
def test_only_workloads_of_its_own_domain(ca, text):
    """Neither a foreign domain nor an id without a path gets a leaf."""
    domain, _, path = text.partition("/")
    with pytest.raises(ConfigError, match=r"a workload of 'example.org'"):
        ca.issue(SpiffeId(domain, path and "/" + path))


def test_bad_trust_domain(folder, clock):
    """A trust domain that is none is refused before anything is made."""
    with pytest.raises(ConfigError):
        LocalCA(folder, "Example.org", now=clock)
    assert not folder.exists()


def test_opened_again_it_is_the_same(ca, folder, clock):
    """A second LocalCA on the folder has the same root and issuing certificate."""
    again = LocalCA(folder, "example.org", now=clock)
    assert ca.bundle() == again.bundle()
    chains = [certificates(each.issue(WEB).chain_pem) for each in (ca, again)]
    assert chains[0][1] == chains[1][1]


def test_modes(ca, folder):
    """The folder is 0700 and everything in it 0600."""
    ca.issue(WEB)
    assert 0o700 == folder.stat().st_mode & 0o777
    assert {0o600} == {each.stat().st_mode & 0o777 for each in folder.iterdir()}


def test_another_domain_is_refused(ca, folder, clock):
    """A folder that belongs to one trust domain is not used for another."""
    with pytest.raises(ConfigError, match=r"'other.org'.*\n.*'example.org'"):
        LocalCA(folder, "other.org", now=clock)


def test_issuing_is_replaced_before_it_ends(ca, folder, clock):
    """Past 2/3 of its life the issuing certificate is replaced; no leaf is ever cut short."""
    old = certificates(ca.issue(WEB).chain_pem)[1]
    clock.now = START + ISSUING_TTL * 0.66
    assert old == certificates(ca.issue(WEB).chain_pem)[1]
    clock.now = START + ISSUING_TTL * 0.67
    leaf = ca.issue(WEB)
    new = certificates(leaf.chain_pem)[1]
    assert (clock.now + LEAF_TTL) == leaf.not_after
    assert old.public_key() != new.public_key()
    new.verify_directly_issued_by(x509.load_der_x509_certificate(next(iter(ca.bundle().roots))))
    other = LocalCA(folder, "example.org", now=clock)
    assert new == certificates(other.issue(WEB).chain_pem)[1]


def test_others_see_a_replaced_issuing_certificate(ca, folder, clock):
    """A LocalCA that was open all the time signs with what another one made."""
    other = LocalCA(folder, "example.org", now=clock)
    clock.now = START + ISSUING_TTL * 0.7
    assert certificates(ca.issue(WEB).chain_pem)[1] == certificates(other.issue(WEB).chain_pem)[1]


def test_an_expired_root_is_an_error(ca, clock):
    """After ten years the CA says so instead of making leaves nobody accepts."""
    clock.now = START + ROOT_TTL + 1
    with pytest.raises(IdentityUnavailable, match="expired"):
        ca.issue(WEB)


DAMAGES = {
    "empty": b"",
    "cut off": b'{"version":1,"trust_dom',
    "not JSON": b"\xff\xfe",
    "no fields": b"{}",
    "an unknown field": b'{"version":1,"trust_domain":"example.org","active":1,'
    b'"authorities":[{"generation":1,"issuing":1}],"more":1}',
    "a wrong type": b'{"version":1,"trust_domain":"example.org","active":"x","authorities":[]}',
    "an active authority that is not listed": b'{"version":1,"trust_domain":"example.org",'
    b'"active":2,"authorities":[{"generation":1,"issuing":1}]}',
    "files that do not exist": b'{"version":1,"trust_domain":"example.org","active":1,'
    b'"authorities":[{"generation":1,"issuing":9}]}',
    "a version of the future": b'{"version":2,"trust_domain":"example.org","active":1,'
    b'"authorities":[{"generation":1,"issuing":1}]}',
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_state_is_refused(ca, folder, clock, damage):
    """A damaged state.json is an error that names the folder; nothing is made anew over it."""
    before = {each: each.read_bytes() for each in folder.iterdir()}
    (folder / "state.json").write_bytes(DAMAGES[damage])
    before[folder / "state.json"] = DAMAGES[damage]
    with pytest.raises(IdentityUnavailable, match=str(folder)):
        LocalCA(folder, "example.org", now=clock)
    with pytest.raises(IdentityUnavailable, match=str(folder)):
        ca.issue(WEB)
    assert before == {each: each.read_bytes() for each in folder.iterdir()}


@pytest.mark.parametrize(
    "name", ["root-1.pem", "root-1-key.pem", "issuing-1-1.pem", "issuing-1-1-key.pem"]
)
@pytest.mark.parametrize("damage", ["missing", "garbage", "another's"])
def test_damaged_files_are_refused(ca, folder, tmp_path, clock, name, damage):
    """A certificate or key that is missing, broken or another's is found when the CA is opened."""
    if damage == "missing":
        (folder / name).unlink()
    elif damage == "garbage":
        (folder / name).write_bytes(b"-----BEGIN NOTHING-----\n")
    else:
        LocalCA(tmp_path / "other", "example.org", now=clock)
        (folder / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(IdentityUnavailable, match=str(folder)):
        LocalCA(folder, "example.org", now=clock)


def test_an_issuing_pair_of_another_root_is_refused(ca, folder, tmp_path, clock):
    """An issuing certificate with its key, but of another root, is found too."""
    LocalCA(tmp_path / "other", "example.org", now=clock)
    for name in ("issuing-1-1.pem", "issuing-1-1-key.pem"):
        (folder / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(IdentityUnavailable, match=str(folder)):
        LocalCA(folder, "example.org", now=clock)


@pytest.mark.parametrize("name", ["state.json", "root-1-key.pem", "issuing-1-1-key.pem"])
def test_files_that_others_can_read_are_refused(ca, folder, clock, name):
    """One key or state file with a wider mode and the CA is not used."""
    (folder / name).chmod(0o640)
    with pytest.raises(ConfigError, match="0640"):
        LocalCA(folder, "example.org", now=clock)


def test_a_folder_that_others_can_enter_is_refused(ca, folder, clock):
    """The mode of the folder is checked at every start."""
    folder.chmod(0o750)
    with pytest.raises(ConfigError, match="0750"):
        LocalCA(folder, "example.org", now=clock)


@pytest.mark.parametrize("step", range(5))
def test_a_crash_while_it_is_made_leaves_no_half_ca(folder, clock, monkeypatch, step):
    """Wherever the making of a CA stops, the next start makes a whole one."""
    _crash_at(step, monkeypatch, lambda: LocalCA(folder, "example.org", now=clock))
    assert not (folder / "state.json").exists()
    ca = LocalCA(folder, "example.org", now=clock)
    root = x509.load_der_x509_certificate(next(iter(ca.bundle().roots)))
    certificates(ca.issue(WEB).chain_pem)[1].verify_directly_issued_by(root)


@pytest.mark.parametrize("step", range(3))
def test_a_crash_while_issuing_is_replaced_keeps_the_old(ca, folder, clock, monkeypatch, step):
    """Wherever the replacement stops, the committed state is the old one, whole."""
    before = json.loads((folder / "state.json").read_bytes())
    clock.now = START + ISSUING_TTL * 0.7
    _crash_at(step, monkeypatch, lambda: ca.issue(WEB))
    assert before == json.loads((folder / "state.json").read_bytes())
    assert ca.bundle() == LocalCA(folder, "example.org", now=clock).bundle()
    assert clock.now + LEAF_TTL == ca.issue(WEB).not_after


class Crash(BaseException):
    """Power off."""


def _crash_at(step, monkeypatch, act):
    from meshlib.control.local import vault as module

    real, left = module.write_private, [step]

    def write(path, data):
        if not left[0]:
            raise Crash
        left[0] -= 1
        real(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_private", write)
        with pytest.raises(Crash):
            act()


# -- certificate requests


def csr(*, key=None, names=(WEB,), extra=(), tamper=False):
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    general = [
        each if isinstance(each, x509.GeneralName) else x509.UniformResourceIdentifier(str(each))
        for each in names
    ]
    if general:
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=True)
    for each in extra:
        builder = builder.add_extension(each, critical=True)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    request = builder.sign(key, algorithm)
    if not tamper:
        return request.public_bytes(Encoding.PEM)
    der = bytearray(request.public_bytes(Encoding.DER))
    at = der.index(b"svc/dbs") + 4
    der[at : at + 3] = b"web"
    import base64

    body = base64.encodebytes(bytes(der))
    return b"-----BEGIN CERTIFICATE REQUEST-----\n" + body + b"-----END CERTIFICATE REQUEST-----\n"


@pytest.mark.parametrize("names", [(WEB,), ()], ids=["its id", "no name"])
@pytest.mark.parametrize("kind", ["P-256", "P-384", "RSA-2048"])
def test_a_request_for_the_callers_own_id(ca, kind, names):
    """A request gets a leaf for the caller's id and its own key."""
    key = {
        "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "RSA-2048": lambda: rsa.generate_private_key(65537, 2048),
    }[kind]()
    leaf, _ = certificates(ca.issue_csr(csr(key=key, names=names), allowed=WEB))
    assert key.public_key() == leaf.public_key()
    assert WEB == check_leaf(leaf.public_bytes(Encoding.DER), START).spiffe_id
    assert timedelta(seconds=LEAF_TTL + 300) == leaf.not_valid_after_utc - leaf.not_valid_before_utc


def _usage(**on):
    from meshlib.control.local.certs import key_usage

    return key_usage(digital_signature=True, **on)


ATTACKS = {
    "another id": lambda: csr(names=(service_id("example.org", "db"),)),
    "its id and another": lambda: csr(names=(WEB, service_id("example.org", "db"))),
    "a DNS name": lambda: csr(names=(WEB, x509.DNSName("i-x.id.mesh.internal"))),
    "an e-mail address": lambda: csr(names=(WEB, x509.RFC822Name("a@example.org"))),
    "to be a CA": lambda: csr(extra=(x509.BasicConstraints(ca=True, path_length=None),)),
    "to sign certificates": lambda: csr(extra=(_usage(key_cert_sign=True),)),
    "to sign CRLs": lambda: csr(extra=(_usage(crl_sign=True),)),
    "a changed request": lambda: csr(names=(service_id("example.org", "dbs"),), tamper=True),
    "a short RSA key": lambda: csr(key=rsa.generate_private_key(65537, 1024)),
    "an odd curve": lambda: csr(key=ec.generate_private_key(ec.SECP256K1())),
    "Ed25519": lambda: csr(key=ed25519.Ed25519PrivateKey.generate()),
    "garbage": lambda: b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n",
    "too much": lambda: csr() + b"\n" * 20_000,
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_request_for_anything_else(ca, attack):
    """A request that asks for more than the caller's own id is refused."""
    with pytest.raises(ConfigError, match="csr"):
        ca.issue_csr(ATTACKS[attack](), allowed=WEB)


@pytest.mark.parametrize("name", ["root-1-key.pem", "issuing-1-1-key.pem"])
def test_a_request_with_the_cas_own_key(ca, folder, name):
    """The CA's own keys never get a leaf."""
    key = load_pem_private_key((folder / name).read_bytes(), None)
    with pytest.raises(ConfigError, match="key of the CA"):
        ca.issue_csr(csr(key=key), allowed=WEB)


def test_reprs_show_no_keys(ca, folder):
    """Printing what holds a key shows none of it."""
    leaf = ca.issue(WEB)
    shown = repr(leaf) + repr(ca) + repr(ca._loaded)
    for pem in (leaf.key_pem, (folder / "root-1-key.pem").read_bytes()):
        assert pem.splitlines()[1].decode() not in shown


def test_a_full_disk_is_a_control_error(folder, clock, monkeypatch):
    """What cannot be written is a ControlError that names the file."""
    import os

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ControlError, match="No space left"):
        LocalCA(folder, "example.org", now=clock)
