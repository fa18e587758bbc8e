from __future__ import annotations

import json
import sys

import click
import pytest
from click.testing import CliRunner

import meshlib.cli
from meshlib.cli.app import cli
from meshlib.cli.services import rows
from meshlib.cli.split import parse_shares
from meshlib.errors import MeshError
from meshlib.model import Bound, Endpoint, Neg, Snapshot
from meshlib.watch import Watch


@pytest.fixture
def run(tmp_path):
    """Run a command with a state folder of its own."""

    def command(*arguments, env=None):
        home = {"MESHLIB_HOME": str(tmp_path / "home"), "MESHLIB_CONTROL": None}
        return CliRunner().invoke(cli, arguments, env={**home, **(env or {})})

    return command


@pytest.fixture
def failing():
    """A command that fails on purpose, as long as the test runs."""

    @cli.command("fail")
    def fail():
        raise MeshError("it broke", why="it had to", hint="mend it")

    yield "fail"
    del cli.commands["fail"]


def test_a_mesh_error_is_a_sentence(run, failing):
    """What, why and hint go to stderr, nothing to stdout, exit code 1, no traceback."""
    result = run(failing)
    assert 1 == result.exit_code
    assert "" == result.stdout
    assert "meshlib: it broke\n  why:  it had to\n  hint: mend it\n" == result.stderr


def test_debug_keeps_the_traceback(run, failing):
    """With --debug the error itself comes through."""
    assert isinstance(run("--debug", failing).exception, MeshError)


@pytest.mark.parametrize(
    "arguments",
    [
        ("demo", "--once", "--faulty"),
        ("demo", "--once", "--duration", "3"),
        ("split", "backend"),
        ("split", "backend", "v1"),
        ("split", "backend", "v1=50", "v1=50"),
        ("split", "backend", "v1=120"),
        ("split", "backend", "v1=nan"),
        ("unheard-of",),
    ],
)
def test_wrong_usage_is_told(run, arguments):
    """Options that contradict and shares that are none end with 2 and the usage."""
    result = run(*arguments)
    assert 2 == result.exit_code
    assert "Usage:" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("demo", "--control", "etcd://127.0.0.1"), "consul to start a Consul"),
        (("demo", "--port", "70000"), "--port: 70000"),
        (("demo", "--duration", "-1"), "--duration: -1.0"),
        (("split", "backend", "v1=90", "v2=20"), "add up to 100"),
        (("services", "--control", "elsewhere"), "elsewhere"),
    ],
)
def test_bad_settings_are_told_with_their_value(run, arguments, told):
    """Exit code 1 and a sentence that names what was given."""
    result = run(*arguments)
    assert 1 == result.exit_code
    assert told in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("module", ["click", "rich"])
def test_without_the_extra_it_says_how_to_get_it(monkeypatch, capsys, module):
    """A missing package of the [cli] extra is one sentence and exit code 2."""
    monkeypatch.delitem(sys.modules, "meshlib.cli.app")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SystemExit) as ended:
        meshlib.cli.main()
    assert meshlib.cli.USAGE_ERROR == ended.value.code
    assert 1 == capsys.readouterr().err.count("pip install 'meshlib[cli]'")


def test_version_tells_ours_and_pythons(run):
    """One line with both."""
    assert f"Python {'.'.join(map(str, sys.version_info[:3]))}" in run("version").output


def test_an_empty_mesh_has_no_services(run):
    """A new state folder is no error."""
    result = run("services")
    assert (0, "no services\n") == (result.exit_code, result.output)


def test_a_split_is_written_and_seen(run):
    """What `split` writes makes the service known, without instances so far."""
    result = run("split", "backend", "v1=90", "v2=10")
    assert (0, "backend: v1 90 %, v2 10 %\n") == (result.exit_code, result.output)
    assert 0 == run("split", "backend", "v1=50", "v2=50").exit_code
    assert "no instance" in run("services").output


def test_a_permissive_service_is_marked(run, tmp_path):
    """Whoever lists services sees which of them take plaintext; a strict one is not mentioned."""
    policy = tmp_path / "policy.json"
    for mode, told in ("permissive", True), ("strict", False):
        body = {"Kind": "traffic-policy", "Name": "backend", "Serving": {"Mtls": mode}}
        policy.write_text(json.dumps(body))
        assert 0 == run("apply", str(policy)).exit_code
        assert told is (
            "plaintext is accepted besides mutual TLS by backend" in run("services").output
        )


class Discovery:
    """Two services: one with an instance, one that is only known by name."""

    def services(self):
        return ("backend", "ghost")

    def endpoints(self, service):
        if service == "ghost":
            return Watch(Neg(), ready=True)
        endpoint = Endpoint("backend-a", "127.0.0.1", 4711, meta={"version": "v2"})
        return Watch(Bound(Snapshot(service, (endpoint,))), ready=True)


def test_services_have_a_row_an_instance():
    """Version and address of each instance, and a row for a service that has none."""
    assert [
        ("backend", "backend-a", "v2", "ready", "127.0.0.1:4711"),
        ("ghost", "-", "", "no instance", ""),
    ] == list(rows(Discovery()))


def test_shares_are_read_in_order():
    """Percentages may be fractions."""
    assert [("v1", 99.5), ("v2", 0.5)] == list(parse_shares(("v1=99.5", "v2=0.5")).items())


def test_a_share_that_is_none_is_refused():
    """The share that is wrong is named."""
    with pytest.raises(click.BadParameter, match="'v2:10'"):
        parse_shares(("v1=90", "v2:10"))
