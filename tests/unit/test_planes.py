"""Which control plane the settings name."""

from __future__ import annotations

import sys

import consul
import pytest

from meshlib import Mesh
from meshlib.errors import ConfigError


def test_a_token_without_consul(home):
    """Would be for nothing; its text is not repeated."""
    with pytest.raises(ConfigError, match="MESHLIB_CONTROL") as caught:
        assert Mesh("front", token="s3cret").control
    assert "s3cret" not in str(caught.value)


def test_a_token_beside_a_client_object(home):
    """Is the one that counts; without one the client's own does."""
    given = consul.Consul(host="127.0.0.1", port=1, token="its-own")
    with Mesh("front", control=given, token="ours") as mesh:
        assert "ours" == mesh.control.address.token
    with Mesh("front", control=given) as mesh:
        assert "its-own" == mesh.control.address.token


def test_control_from_the_environment(home, monkeypatch):
    """What code says beats it."""
    monkeypatch.setenv("MESHLIB_CONTROL", "consul://10.0.0.1:8501")
    with Mesh("front") as mesh:
        assert "consul://10.0.0.1:8501" == str(mesh.control.address)
    with Mesh("front", control="local") as mesh:
        assert "LocalControl" in repr(mesh.control)


def test_what_consul_needs_is_not_installed(home, monkeypatch):
    """Says what to install."""
    monkeypatch.setitem(sys.modules, "pybreaker", None)
    with pytest.raises(ConfigError, match=r"meshlib\[consul\]"):
        assert Mesh("front", control="consul://127.0.0.1:1").control
