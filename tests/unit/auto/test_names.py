"""Examples of addresses, good and bad."""

from __future__ import annotations

import pytest

from meshlib.auto.names import parse
from meshlib.errors import ConfigError


def test_addresses_are_read():
    """Spaces and empty entries do no harm; a host is what it is in any case."""
    expected = {("127.0.0.1", 5001): "backend", ("db.internal", 80): "", ("fe80::1", 9): "a_b"}
    assert expected == parse(" localhost:5001=backend, DB.internal:80= ,,[fe80::1]:9=a_b")


@pytest.mark.parametrize(
    "text",
    ["backend", "h=backend", "h:=backend", "h:0=b", "h:65536=b", "h:80", "fe80::1:9=b", ":80=b"],
)
def test_what_is_no_address_is_shown(text):
    """The entry and the right form stand in the error."""
    with pytest.raises(ConfigError, match="HOST:PORT=SERVICE") as caught:
        parse(f"good:1=service,{text}")
    assert text == caught.value.value


def test_a_service_has_no_spaces():
    """A name that can be none is an error of its own."""
    with pytest.raises(ConfigError, match="a service of letters"):
        parse("h:80=back end")


def test_an_address_has_one_meaning():
    """Two services at one address are a contradiction, also under two names of this machine."""
    with pytest.raises(ConfigError, match="it means first too"):
        parse("localhost:80=first,127.0.0.1:80=second")
    assert {("127.0.0.1", 80): "one"} == parse("localhost:80=one,127.0.0.1:80=one")
