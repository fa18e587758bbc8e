"""`meshlib ca`, as somebody sees it at night."""

import json

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from meshlib.cli.app import cli

WEB = "spiffe://meshlib.local/ns/default/dc/local/svc/web"


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def run(home):
    """Run `meshlib ca ...` on a folder of its own."""

    def command(*arguments, stdin=None):
        env = {"MESHLIB_HOME": str(home), "MESHLIB_CONTROL": None}
        return CliRunner().invoke(cli, ["ca", *arguments], env=env, input=stdin)

    return command


@pytest.fixture
def made(run):
    assert 0 == run("init").exit_code
    return run


def csr(*names, subject=()):
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def uri(text):
    return x509.UniformResourceIdentifier(text)


def said(result):
    return json.loads(result.stdout)


def test_init(run, home):
    """The keys are made once; to ask again is no error, and changes nothing."""
    first = said(run("init", "--json"))
    assert "made" == first.pop("said")
    again = said(run("init", "--json"))
    assert "it was there already" == again.pop("said")
    assert first == again
    assert (str(home), "meshlib.local") == (first["folder"], first["trust_domain"])


def test_init_for_another_domain(made):
    """A folder belongs to one trust domain."""
    result = made("init", "--trust-domain", "other.org")
    assert (1, "") == (result.exit_code, result.stdout)
    assert "'meshlib.local'" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [("status",), ("rotate", "prepare"), ("rotate", "finish", "--force")],
)
def test_without_a_ca(run, home, arguments):
    """Nothing makes a CA in passing: the command that does is named."""
    result = run(*arguments)
    assert 1 == result.exit_code
    assert f"there is no CA in {home}" in result.stderr
    assert "meshlib ca init" in result.stderr
    assert not home.exists()


def test_an_empty_folder(run, home):
    """A folder without a CA is told from one with a damaged one."""
    home.mkdir(mode=0o700)
    result = run("status")
    assert (1, "") == (result.exit_code, result.stdout)
    assert "meshlib ca init" in result.stderr
    assert [] == list(home.iterdir())


def test_a_whole_rotation(made):
    """Each step says what is there now, and what comes next."""

    def shows(*arguments):
        found = said(made(*arguments, "--json"))
        roles = [(each["generation"], each["role"]) for each in found["roots"]]
        return roles, found.get("said"), found["next"].partition(",")[0]

    assert ([(1, "active")], None, "") == shows("status")
    prepared = [(1, "active"), (2, "prepared")]
    assert (prepared, "done", "meshlib ca rotate activate") == shows("rotate", "prepare")
    both = [(1, "retiring"), (2, "active")]
    assert (both, "done", "meshlib ca rotate finish") == shows("rotate", "activate")
    assert (both, "it was so already", "meshlib ca rotate finish") == shows("rotate", "activate")
    early = made("rotate", "finish")
    assert (1, "") == (early.exit_code, early.stdout)
    assert "may be valid until" in early.stderr
    assert ([(2, "active")], "done", "") == shows("rotate", "finish", "--force")


def test_status_for_people(made):
    """The table names root, state and fingerprint, and the step that is due."""
    made("rotate", "prepare")
    result = made("status")
    assert 0 == result.exit_code
    for word in ("active", "prepared", "next: meshlib ca rotate activate"):
        assert word in result.stdout
    for root in said(made("status", "--json"))["roots"]:
        assert root["fingerprint"][:16] in result.stdout


@pytest.mark.parametrize("name", ["root-1-key.pem", "root-2-key.pem", "state.json"])
def test_status_looks_at_every_key(made, home, name):
    """A key that others can read is found, also one that signs nothing at present."""
    made("rotate", "prepare")
    (home / name).chmod(0o644)
    result = made("status")
    assert (1, "") == (result.exit_code, result.stdout)
    assert "0644" in result.stderr
    assert f"chmod 600 {home / name}" in result.stderr


@pytest.mark.parametrize("names", [(), (uri(WEB),)], ids=["no name", "its own"])
def test_issue(made, tmp_path, names):
    """A request gets a chain for the service that was named, on stdout, from a file or stdin."""
    path = tmp_path / "csr"
    path.write_bytes(csr(*names))
    for result in (
        made("issue", "--csr", str(path), "web"),
        made("issue", "--csr", "-", "web", stdin=csr(*names)),
    ):
        assert 0 == result.exit_code, result.stderr
        leaf, issuing = x509.load_pem_x509_certificates(result.stdout_bytes)
        leaf.verify_directly_issued_by(issuing)
        names_of = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert [uri(WEB)] == list(names_of)


ATTACKS = {
    "the id of another": lambda: csr(uri(WEB[:-3] + "db")),
    "two ids": lambda: csr(uri(WEB), uri(WEB[:-3] + "db")),
    "a label of gRPC": lambda: csr(uri(WEB), x509.DNSName("i-abc.id.mesh.internal")),
    "any label of gRPC": lambda: csr(x509.DNSName("*.id.mesh.internal")),
    "nothing": lambda: b"",
    "too much": lambda: csr() * 100,
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_issue_refuses(made, attack):
    """What asks for more than the service that was named gets nothing."""
    result = made("issue", "--csr", "-", "web", stdin=ATTACKS[attack]())
    assert (1, "") == (result.exit_code, result.stdout)
    assert "csr" in result.stderr


def test_a_subject_is_not_taken_over(made):
    """What a request calls itself does not reach the certificate."""
    names = [x509.NameAttribute(x509.NameOID.COMMON_NAME, "i-abc.id.mesh.internal")]
    result = made("issue", "--csr", "-", "web", stdin=csr(subject=names))
    leaf = x509.load_pem_x509_certificates(result.stdout_bytes)[0]
    assert x509.Name([]) == leaf.subject
    assert b"mesh.internal" not in leaf.public_bytes(Encoding.DER)


@pytest.mark.parametrize("service", ["Web", "a/b", "..", ""])
def test_issue_for_no_service(made, service):
    """A name that no service can have is refused."""
    result = made("issue", "--csr", "-", service, stdin=csr())
    assert (1, "") == (result.exit_code, result.stdout)


def test_federation(made, home, tmp_path):
    """The roots that one mesh prints another one trusts, until told otherwise."""
    theirs = tmp_path / "theirs.pem"
    theirs.write_text(made("bundle").stdout)
    assert (
        "partner.org is trusted with 1 roots\n" == made("trust", "partner.org", str(theirs)).stdout
    )
    assert theirs.read_text() == (home / "bundles" / "partner.org.pem").read_text()
    assert "partner.org is trusted no longer\n" == made("distrust", "partner.org").stdout
    assert "it was so already\n" == made("distrust", "partner.org").stdout
    assert 1 == made("trust", "meshlib.local", str(theirs)).exit_code
