from __future__ import annotations

import pytest

from meshlib.config import ServingConfig, UpstreamConfig
from meshlib.errors import ConfigError
from meshlib.settings import load


def refused(given, environ=None):
    """The error these settings are refused with."""
    with pytest.raises(ConfigError) as caught:
        load(given, environ or {})
    return caught.value


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """No meshlib.toml lies about."""
    monkeypatch.chdir(tmp_path)


def test_code_beats_environment_beats_file(tmp_path):
    """Each source fills in what the ones before it leave open."""
    (tmp_path / "meshlib.toml").write_text('service = "a"\nversion = "a"\nzone = "a"\n')
    environ = {"MESHLIB_VERSION": "b", "MESHLIB_ZONE": "b"}
    settings = load({"zone": "c", "version": None}, environ)
    assert ("a", "b", "c") == (settings.service, settings.version, settings.zone)


def test_numbers_come_out_of_the_environment_as_numbers():
    """A port in the environment is text that must be a number."""
    assert 8443 == load({"service": "a"}, {"MESHLIB_PORT": "8443"}).port
    error = refused({"service": "a"}, {"MESHLIB_PORT": "https"})
    assert ("MESHLIB_PORT", "https") == (error.path, error.value)


def test_upstreams_come_out_of_the_file(tmp_path):
    """A table of the file shapes the calls to one service."""
    (tmp_path / "meshlib.toml").write_text("[upstreams.backend]\ntimeout = 3.0\n")
    assert {"backend": UpstreamConfig(timeout=3.0)} == load({"service": "a"}, {}).upstreams


def test_code_beats_the_file_service_by_service(tmp_path):
    """What code says of one service leaves what the file says of another."""
    (tmp_path / "meshlib.toml").write_text(
        "[upstreams.b]\ntimeout = 3.0\n[upstreams.c]\ntimeout = 3.0\n"
    )
    upstreams = load(
        {"service": "a", "upstreams": {"c": UpstreamConfig(timeout=1.0)}}, {}
    ).upstreams
    assert {"b": UpstreamConfig(timeout=3.0), "c": UpstreamConfig(timeout=1.0)} == upstreams


def test_the_file_may_have_another_name(tmp_path):
    """MESHLIB_CONFIG names the file."""
    other = tmp_path / "other.toml"
    other.write_text('service = "a"')
    assert "a" == load({}, {"MESHLIB_CONFIG": str(other)}).service


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"service": "a", "wieght": 1}, "mesh.wieght"),
        ({"service": ""}, "mesh.service"),
        ({"service": "a", "port": 65536}, "mesh.port"),
        ({"service": "a", "weight": -1}, "mesh.weight"),
        ({"service": "a", "control": "zookeeper"}, "mesh.control"),
        ({"service": "a", "upstreams": {"b": {"timeout": -1}}}, "mesh.upstreams[...].timeout"),
        ({"service": "a", "upstreams": {"b": 7}}, "mesh.upstreams[...]"),
        (
            {"service": "a", "upstreams": {"b": UpstreamConfig(retry={"attempts": 0})}},
            "mesh.upstreams[...].retry.attempts",
        ),
        ({}, "service"),
    ],
)
def test_bad_settings_are_refused_with_their_path(given, path):
    """Nothing is ignored: each error names the field."""
    assert path == refused(given).path


def test_an_unknown_variable_is_refused():
    """A misspelt variable is an error that lists the right ones."""
    error = refused({"service": "a"}, {"MESHLIB_WIEGHT": "3"})
    assert "MESHLIB_WIEGHT" == error.path
    assert "MESHLIB_WEIGHT" in str(error)


def test_variables_of_the_demo_are_not_settings():
    """What belongs to others under the same prefix is left alone."""
    assert "a" == load({"service": "a"}, {"MESHLIB_DEMO_FAULTS": "1"}).service


@pytest.mark.parametrize("text", [None, "service = "])
def test_a_file_that_cannot_be_read_is_refused(tmp_path, text):
    """A missing or malformed file is an error that names it."""
    named = tmp_path / "named.toml"
    if text is not None:
        named.write_text(text)
    error = refused({"service": "a"}, {"MESHLIB_CONFIG": str(named)})
    assert str(named) == error.value


def test_a_program_does_not_let_plaintext_in():
    """Permissive mTLS is said by a document, which operators see and can take back."""
    error = refused({"service": "a", "serving": ServingConfig(mtls="permissive")})
    assert ("mesh.serving.mtls", "permissive") == (error.path, error.value)
