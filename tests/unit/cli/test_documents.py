"""Documents and intentions on the command line, against a store of the test's own."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from meshlib.cli.app import cli
from meshlib.cli.reading import read_documents
from meshlib.errors import ConfigError

DEFAULTS = {"Kind": "service-defaults", "Name": "backend", "Protocol": "http2"}
TOML = 'Kind = "service-defaults"\nName = "backend"\nProtocol = "http2"\n'
LISTED = '[[documents]]\nkind = "service-defaults"\nname = "backend"\nbody = {Protocol = "http2"}\n'
YAML = "Kind: service-defaults\nName: backend\nProtocol: http2\n"
SPLIT = {"Kind": "service-splitter", "Name": "web", "Splits": [{"Weight": 100}]}


@pytest.fixture
def run(tmp_path):
    """Run a command with a state folder of its own: exit code and output."""

    def command(*arguments, stdin=None):
        home = {"MESHLIB_HOME": str(tmp_path / "home"), "MESHLIB_CONTROL": None}
        result = CliRunner().invoke(cli, arguments, env=home, input=stdin)
        return result.exit_code, result.output

    return command


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", json.dumps(DEFAULTS)),
        ("a.json", json.dumps([DEFAULTS])),
        ("a.toml", TOML),
        ("a.toml", LISTED),
        ("a.yaml", YAML),
        ("-", json.dumps(DEFAULTS)),
        ("-", TOML),
    ],
)
def test_documents_are_read_in_any_form(name, text):
    """One, a list, or the table of a static control plane's file."""
    ((document, compared),) = read_documents(text, name)
    assert ("service-defaults", "backend", False) == (document.kind, document.name, compared)
    assert "http2" == document.body["Protocol"]


def test_yaml_has_the_scalars_of_json():
    """`no` is a word, and a name; several documents may stand in one file."""
    text = (
        "Kind: service-defaults\nName: no\n---\nKind: service-defaults\nName: 'on'\nMeta: {a: 012}"
    )
    names = [document.name for document, _ in read_documents(text, "a.yml")]
    assert ["no", "on"] == names
    assert "012" == read_documents(text, "a.yml")[1][0].body["Meta"]["a"]


@pytest.mark.parametrize(
    ("name", "text", "path"),
    [
        ("a.json", "{", "a.json"),
        ("-", "what?", "-"),
        ("a.yaml", "a: [", "a.yaml"),
        ("a.json", "[1]", "a.json[0]"),
        ("a.json", '{"Name": "x"}', "a.json.Kind"),
        ("a.json", '{"Kind": "service-defaults"}', "a.json.Name"),
        ("a.json", json.dumps({**DEFAULTS, "Version": "1"}), "a.json.Version"),
        ("a.json", json.dumps({**DEFAULTS, "Kind": "x"}), "x/backend"),
        (
            "a.json",
            json.dumps([DEFAULTS, {**DEFAULTS, "Colour": 1}]),
            "service-defaults/backend.Colour",
        ),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(name, text, path):
    """The file, the number in it, the field."""
    with pytest.raises(ConfigError) as refused:
        read_documents(text, name)
    assert path == refused.value.path


def test_apply_says_what_it_did(run):
    """Created, changed, unchanged."""
    for protocol, expected in (("http2", "created"), ("grpc", "changed"), ("grpc", "unchanged")):
        text = json.dumps({**DEFAULTS, "Protocol": protocol})
        assert (0, f"service-defaults/backend: {expected}\n") == run("apply", "-", stdin=text)


def test_apply_writes_nothing_unless_all_can_be_used(run):
    """And what is referred to comes first."""
    bad = {**SPLIT, "Splits": []}
    code, output = run("apply", "-", stdin=json.dumps([DEFAULTS, bad]))
    assert (1, True) == (code, "service-splitter/web" in output)
    assert 1 == run("get", "defaults", "backend")[0]
    code, output = run("apply", "-", stdin=json.dumps([SPLIT, DEFAULTS]))
    assert (0, ["service-defaults/backend: created", "service-splitter/web: created"]) == (
        code,
        output.splitlines(),
    )


def test_what_get_prints_can_be_applied_until_somebody_changes_it(run, tmp_path):
    """The version in it is compared; who was slower hears of it, and nothing is lost."""
    run("apply", "-", stdin=json.dumps(DEFAULTS))
    code, printed = run("get", "defaults", "backend")
    assert (0, {**DEFAULTS, "Version": 1}) == (code, json.loads(printed))
    assert "unchanged" in run("apply", "-", stdin=printed)[1]
    mine = json.dumps({**json.loads(printed), "Protocol": "grpc"})
    assert (0, "service-defaults/backend: changed\n") == run("apply", "-", stdin=mine)
    code, output = run("apply", "-", stdin=json.dumps({**json.loads(printed), "Protocol": "tcp"}))
    assert (1, True) == (code, "no longer at version 1" in output)
    assert "grpc" in run("get", "service-defaults", "backend")[1]


def test_a_missing_file_is_told(run):
    """With its name."""
    code, output = run("apply", "nowhere.json")
    assert (1, True) == (code, "nowhere.json" in output)


def test_delete_removes_once(run):
    """The second time there is nothing."""
    run("apply", "-", stdin=json.dumps(DEFAULTS))
    assert (0, "service-defaults/backend: deleted\n") == run("delete", "defaults", "backend")
    assert (1, "meshlib: there is no service-defaults/backend\n") == run(
        "delete", "defaults", "backend"
    )


def test_an_unknown_kind_lists_the_known(run):
    """For `get` and `delete` alike."""
    for command in ("get", "delete"):
        code, output = run(command, "colour", "backend")
        assert (1, True) == (code, "service-intentions" in output)


HERE = "  with the default allow; if web has a default_intentions of its own, say --default\n"
"""What a check says of the default, where nobody has told it."""


def test_check_is_told_the_default_of_the_service(run):
    """The service's own default is asked for by a flag, and the answer says which was used."""
    code, output = run("authz", "check", "api", "web", "--default", "deny")
    assert (1, "  with the default deny") == (code, output.splitlines()[1])
    assert "default is to deny" in output
    code, output = run("authz", "check", "api", "web", "--default", "allow")
    assert (0, "  with the default allow") == (code, output.splitlines()[1])


def test_allow_deny_and_check(run):
    """The answer follows the rules and names the one that decides; the exit code is the answer."""
    assert (0, "allowed: the default is to allow: no intention says otherwise\n" + HERE) == run(
        "authz", "check", "api", "web"
    )
    assert (0, "* may not call web\n") == run("deny", "*", "web")
    denied = "denied: the intention * -> web says deny\n" + HERE
    assert (1, denied) == run("authz", "check", "api", "web")
    assert (0, "api may call web\n") == run("allow", "api", "web")
    assert (0, "api may call web; it was so already\n") == run("allow", "api", "web")
    code, output = run("deny", "api", "web", "--path", "/admin/*", "--header", "x-debug")
    assert (0, "api may not call web (/admin/ x-debug=*)") == (code, output.splitlines()[0])
    assert "anything else: allowed" in output
    asked = "authz", "check", "api", "web", "POST"
    assert 0 == run(*asked, "/admin/x")[0]
    code, output = run(*asked, "/admin/x?y", "--header", "X-Debug=1")
    assert (1, "denied: permission 1 of api -> web says deny\n" + HERE) == (code, output)
    assert 1 == run(*asked, "//admin/x", "--header", "x-debug=1")[0]


def test_a_narrow_rule_says_what_holds_for_the_rest(run):
    """With the default that lets everybody in, an allowance alone forbids nothing."""
    code, output = run("allow", "api", "web", "--method", "get", "--path", "/x")
    assert 0 == code
    assert ["api may call web (GET /x)"] == output.splitlines()[:1]
    assert "anything else: allowed" in output
    run("deny", "api", "web")
    assert "anything else: denied" in run("allow", "api", "web", "--path", "/x")[1]


def test_conditions_on_all_services_are_refused(run):
    """What a path means is up to one service."""
    code, output = run("allow", "api", "*", "--path", "/x")
    assert (1, True) == (code, "service-intentions/*" in output)
