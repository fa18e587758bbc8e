from __future__ import annotations

import pytest

from meshlib.errors import ConfigError
from meshlib.model import Call
from meshlib.policy.cookies import cookie_value
from meshlib.route.sticky import Sticky


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("user=anna", "anna"),
        ("a=1; user=anna; b=2", "anna"),
        ("a=1;user=anna;b=2", "anna"),
        ("a=1; user = anna ", "anna"),
        ('user="anna"', "anna"),
        ('user="', '"'),
        ("user=a=b==", "a=b=="),
        ("user=first; user=second", "first"),
        ("xuser=no; user=yes", "yes"),
        ("user2=no", ""),
        ("a=user; b=2", ""),
        ("USER=no", ""),
        ("user", ""),
        ("user=", ""),
        ("", ""),
        (";;;==;user;\0=;user=x", "x"),
    ],
)
def test_a_cookie_is_found_by_its_whole_name(header, value):
    """The first cookie of exactly that name gives its value, without blanks and quotes."""
    assert value == cookie_value(header, "user")


def test_a_header_is_the_key():
    """The header's name is looked up in lower case, as all header mappings allow."""
    assert "anna" == Sticky(header="X-User").key(Call("b", headers={"x-user": "anna"}))


def test_a_cookie_is_the_key():
    """The cookie is taken out of the Cookie header; without one there is no key."""
    sticky = Sticky(cookie="user")
    assert "anna" == sticky.key(Call("b", headers={"cookie": "a=1; user=anna"}))
    assert "" == sticky.key(Call("b"))


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({}, "Sticky"),
        ({"header": "a", "cookie": "b"}, "Sticky"),
        ({"header": "x user"}, "Sticky.Header"),
        ({"header": "x-user:"}, "Sticky.Header"),
        ({"cookie": "us;er"}, "Sticky.Cookie"),
        ({"cookie": "é"}, "Sticky.Cookie"),
    ],
)
def test_one_name_that_can_be_sent_is_wanted(given, path):
    """Neither, both, or a name no header can have: refused by path."""
    with pytest.raises(ConfigError) as refused:
        Sticky(**given)
    assert path == refused.value.path
