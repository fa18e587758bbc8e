from __future__ import annotations

import pytest

from meshlib.serve.sockets import reachable


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "*"])
def test_a_wildcard_is_an_address_for_nobody(host):
    """What is registered for it is an address of this machine."""
    assert reachable(host) not in {"", "0.0.0.0", "::", "*"}


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "backend.example"])
def test_any_other_address_is_what_it_is(host):
    """A program knows best where it can be reached."""
    assert host == reachable(host)
