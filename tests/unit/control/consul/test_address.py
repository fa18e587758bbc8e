"""Where the agent is: URL, environment, and what is given in code."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from meshlib.control.consul.address import ConsulAddress, address_of
from meshlib.errors import ConfigError


def parse(control, environ=None, **given):
    return ConsulAddress.parse(control, environ or {}, **given)


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        ("consul://10.0.0.1:18500", ("http", "10.0.0.1", 18500, "")),
        ("consul://agent", ("http", "agent", 8500, "")),
        ("consul://", ("http", "127.0.0.1", 8500, "")),
        ("consul://[::1]:8500", ("http", "::1", 8500, "")),
        ("consul+http://agent", ("http", "agent", 8500, "")),
        ("consul+https://agent", ("https", "agent", 8501, "")),
        (
            "consul+unix:///run/consul%20http.sock",
            ("unix", "127.0.0.1", 8500, "/run/consul http.sock"),
        ),
    ],
)
def test_a_url_says_where(control, expected):
    """Scheme, host, port and path come from the URL, ports by default from Consul."""
    address = parse(control)
    assert expected == (address.scheme, address.host, address.port, address.path)


def test_the_query_says_how(tmp_path):
    """Files, datacentre and namespace may stand in the query."""
    (tmp_path / "ca.pem").touch()
    (tmp_path / "token").write_text("secret\n")
    query = f"ca_file={tmp_path}/ca.pem&token_file={tmp_path}/token&dc=dc2&ns=team&server_name=a"
    address = parse(f"consul+https://agent?{query}")
    assert ("dc2", "team", "a") == (address.datacenter, address.namespace, address.server_name)
    assert f"{tmp_path}/ca.pem" == address.ca_file
    assert "secret" == address.current_token()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"CONSUL_HTTP_ADDR": "10.0.0.2:99"}, "consul://10.0.0.2:99"),
        ({"CONSUL_HTTP_ADDR": "https://10.0.0.2:99"}, "consul+https://10.0.0.2:99"),
        ({"CONSUL_HTTP_ADDR": "unix:///run/c.sock"}, "consul+unix:///run/c.sock"),
        ({"CONSUL_HTTP_SSL": "true"}, "consul+https://127.0.0.1:8501"),
        ({}, "consul://127.0.0.1:8500"),
    ],
)
def test_without_a_host_the_environment_says_where(environ, expected):
    """`consul://` alone means what Consul's own command would use."""
    assert expected == str(parse("consul://", environ))


def test_a_host_in_the_url_wins_over_the_environment():
    """CONSUL_HTTP_ADDR does not redirect a mesh that names its agent."""
    assert "consul://agent:8500" == str(parse("consul://agent", {"CONSUL_HTTP_ADDR": "other:1"}))


def test_code_wins_over_the_url_and_the_url_over_the_environment(tmp_path):
    """The closest word counts, also between a token and a token file."""
    file = tmp_path / "token"
    file.write_text("from the file")
    environ = {"CONSUL_HTTP_TOKEN": "from the environment"}
    url = f"consul://?token_file={file}"
    assert "from the environment" == parse("consul://", environ).current_token()
    assert "from the file" == parse(url, environ).current_token()
    assert "from code" == parse(url, environ, token="from code").current_token()


def test_a_token_file_is_read_anew(tmp_path):
    """A token that was rotated in its file is used by the next request."""
    file = tmp_path / "token"
    file.write_text("old")
    address = parse("consul://", token_file=str(file))
    file.write_text("new")
    assert "new" == address.current_token()
    file.unlink()
    with pytest.raises(ConfigError, match=r"control\.token_file"):
        address.current_token()


@pytest.mark.parametrize(
    "given", [{"token": "hidden-secret"}, {"environ": {"CONSUL_HTTP_TOKEN": "hidden-secret"}}]
)
def test_nobody_sees_the_token(given):
    """Neither repr nor str of an address has the token."""
    address = parse("consul://", **given)
    assert "hidden-secret" == address.current_token()
    assert "hidden-secret" not in repr(address) + str(address)


@pytest.mark.parametrize(
    "control",
    [
        "consul://agent?token=hidden-secret",
        "consul://:hidden-secret@agent",
        "http://agent?token=hidden-secret",
        "consul://[::1?token=hidden-secret",
        "consul://agent:0?token=hidden-secret",
    ],
)
def test_a_secret_in_a_url_is_refused_and_not_repeated(control):
    """URLs end up in logs: a token there is an error that does not show it."""
    with pytest.raises(ConfigError) as caught:
        parse(control)
    assert "hidden-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("control", "given", "path"),
    [
        ("http://agent", {}, "control"),
        ("consul://agent:70000", {}, "control"),
        ("consul://agent?datacentre=x", {}, "control?datacentre"),
        ("consul+unix://relative.sock", {}, "control"),
        ("consul://", {"ca_file": "/nowhere/ca.pem"}, "control.ca_file"),
        ("consul://", {"cert_file": "/nowhere/me.pem"}, "control.cert_file"),
        ("consul://", {"key_file": "/nowhere/me.pem"}, "control.key_file"),
        ("consul://", {"tokn": "x"}, "control.tokn"),
        ("consul://", {"environ": {"CONSUL_HTTP_SSL_VERIFY": "maybe"}}, "CONSUL_HTTP_SSL_VERIFY"),
    ],
)
def test_what_cannot_work_is_refused_by_name(control, given, path):
    """A setting that cannot be used is an error with the path of the field."""
    with pytest.raises(ConfigError) as caught:
        parse(control, **given)
    assert path == caught.value.path


def library_client(**http):
    """Shaped like `consul.Consul` of python-consul2 0.1.5 and py-consul 1.8."""
    http = {"base_uri": "http://10.1.2.3:8500", "verify": True, "cert": None, **http}
    return SimpleNamespace(http=SimpleNamespace(**http), token="secret", dc="dc2")


def test_a_client_of_a_library_is_a_source_of_settings(tmp_path):
    """Address, token, datacentre and TLS files are those of the client."""
    for name in ("ca", "cert", "key"):
        (tmp_path / name).touch()
    ca, cert, key = (str(tmp_path / name) for name in ("ca", "cert", "key"))
    client = library_client(base_uri="https://10.1.2.3:8501", verify=ca, cert=(cert, key))
    address = address_of(client)
    assert "consul+https://10.1.2.3:8501" == str(address)
    assert ("secret", "dc2") == (address.current_token(), address.datacenter)
    assert (ca, cert, key) == (address.ca_file, address.cert_file, address.key_file)


def test_a_real_py_consul_client_is_understood():
    """The attributes read are those that py-consul has."""
    consul = pytest.importorskip("consul")
    client = consul.Consul(host="10.1.2.3", port=8501, scheme="https", token="secret", verify=False)
    address = address_of(client)
    assert "consul+https://10.1.2.3:8501" == str(address)
    assert ("secret", False) == (address.current_token(), address.verify)


def test_something_else_is_no_client():
    """An object without an address is an error that names its type."""
    with pytest.raises(ConfigError, match="object"):
        address_of(object())
