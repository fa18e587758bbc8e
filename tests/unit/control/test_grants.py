"""What `allow` and `deny` make of a document."""

from __future__ import annotations

import pytest

from meshlib.control.grants import condition, with_rule
from meshlib.errors import ConfigError

EXACT = {"PathExact": "/a"}


def sources(*rules):
    """The document after these rules about `api`, one after the other."""
    body = {"Sources": [{"Name": "*", "Action": "deny"}]}
    for action, http in rules:
        body = with_rule(body, "api", action, http)
    assert {"Name": "*", "Action": "deny"} == body["Sources"][0]
    return body["Sources"][1:]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([("allow", None)], {"Action": "allow"}),
        ([("allow", None), ("deny", None)], {"Action": "deny"}),
        ([("allow", EXACT), ("deny", None)], {"Action": "deny"}),
        ([("allow", None), ("allow", EXACT)], {"Action": "allow"}),
        ([("allow", EXACT)], {"Permissions": [{"Action": "allow", "HTTP": EXACT}]}),
        (
            [("allow", None), ("deny", EXACT)],
            {
                "Permissions": [
                    {"Action": "deny", "HTTP": EXACT},
                    {"Action": "allow", "HTTP": {"PathPrefix": "/"}},
                ]
            },
        ),
        (
            [("allow", EXACT), ("deny", EXACT)],
            {"Permissions": [{"Action": "deny", "HTTP": EXACT}]},
        ),
    ],
)
def test_the_latest_word_comes_first(rules, expected):
    """Without a condition it replaces what was said; with one it goes before it."""
    assert [{"Name": "api", **expected}] == sources(*rules)


def test_saying_it_again_changes_nothing():
    """An equal document is not written."""
    once = sources(("deny", EXACT))
    assert once == sources(("deny", EXACT), ("deny", EXACT))


def test_what_else_stands_there_is_kept():
    """A description outlives the rule it describes."""
    body = {
        "Sources": [{"Name": "api", "Action": "deny", "Description": "why"}],
        "Meta": {"a": "b"},
    }
    expected = {"Sources": [{"Name": "api", "Description": "why", "Action": "allow"}]}
    assert {**expected, "Meta": {"a": "b"}} == with_rule(body, "api", "allow")


@pytest.mark.parametrize(
    ("path", "methods", "headers", "expected"),
    [
        (None, (), (), None),
        ("/a", (), (), {"PathExact": "/a"}),
        ("/a/*", (), (), {"PathPrefix": "/a/"}),
        (None, ("post", "GET", "get"), (), {"Methods": ["GET", "POST"]}),
        (
            None,
            (),
            ("x", "y=1=2"),
            {"Header": [{"Name": "x", "Present": True}, {"Name": "y", "Exact": "1=2"}]},
        ),
    ],
)
def test_the_words_of_the_command_line(path, methods, headers, expected):
    """A star at the end makes a prefix; methods are sent in capitals."""
    assert expected == condition(path, methods, headers)


@pytest.mark.parametrize(
    ("path", "headers"), [("a", ()), ("/a/*/b", ()), (None, ("=1",)), (None, ("x=",))]
)
def test_words_without_a_meaning_are_refused(path, headers):
    """Rather than guessed at."""
    with pytest.raises(ConfigError):
        condition(path, (), headers)
