from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from meshlib.errors import ConfigError
from meshlib.model import Endpoint, Node
from meshlib.route.filter import compile_filter

META = {"version": "v2", "a-b": "x y", "empty": "", "accent": "é"}
NODE = Node("n1", "10.0.0.1", "dc1", {"rack": "r7"})
ENDPOINT = Endpoint(
    "backend-1", "10.0.0.7", 8443, weight=5, meta=META, tags=("blue", "big"), node=NODE
)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", True),
        ('Service.Meta.version == "v2"', True),
        ("Service.Meta.version == v2", True),
        ("Service.Meta.version==`v2`", True),
        ("Service.Meta.version != v2", False),
        ('Service.Meta["version"] == v2', True),
        ('Service["Meta"][ `a-b` ] == "x y"', True),
        ("Service.Meta.version == V2", False),
        ("Service.Meta.version contains v", True),
        ("Service.Meta.version not contains v", False),
        ("2 in Service.Meta.version", True),
        ("x in Service.Meta.version", False),
        ("v2 not in Service.Meta.version", False),
        ("Service.Meta.empty is empty", True),
        ("Service.Meta.version is empty", False),
        ("Service.Meta.version is not empty", True),
        ('Service.Meta.version matches "^v[0-9]$"', True),
        ("Service.Meta.version matches `2`", True),
        ('Service.Meta.version not matches "^v[0-9]$"', False),
        # a key that is missing
        ("Service.Meta.zone == eu", False),
        ("Service.Meta.zone != eu", True),
        ("eu in Service.Meta.zone", False),
        ("eu not in Service.Meta.zone", True),
        ('"" in Service.Meta.zone', False),
        ("Service.Meta.zone is empty", True),
        ("Service.Meta.zone is not empty", False),
        ("Service.Meta.zone matches `.*`", False),
        ("Service.Meta.zone not matches `.*`", True),
        # the map itself
        ("version in Service.Meta", True),
        ("zone in Service.Meta", False),
        ("Service.Meta contains version", True),
        ("zone not in Service.Meta", True),
        ("Service.Meta is empty", False),
        ("Service.Meta is not empty", True),
        # everything else
        ("Service.ID == `backend-1`", True),
        ('Service.Address == "10.0.0.7"', True),
        ("Service.Address matches `^10\\.`", True),
        ("Service.Port == 8443", True),
        ('Service.Port == "0x20fb"', True),
        ('Service.Port == "020373"', True),
        ('Service.Port == "-8443"', False),
        ("Service.Port != 8443", False),
        ('Service.Port == "8443"', True),
        ("Service.Weights.Passing == 5", True),
        # what only Consul knows
        ("Service.Tags contains blue", True),
        ("blu in Service.Tags", False),
        ("green not in Service.Tags", True),
        ("Service.Tags is empty", False),
        ("Node.Node == n1", True),
        ('Node.Address == "10.0.0.1"', True),
        ("Node.Datacenter != dc1", False),
        ("Node.Meta.rack == r7", True),
        ("Node.Meta.row is empty", True),
        ("rack in Node.Meta", True),
        # precedence: not, and, or
        ("Service.Port == 1 and Service.Port == 2 or Service.Port == 8443", True),
        ("Service.Port == 8443 or Service.Port == 1 and Service.Port == 2", True),
        ("(Service.Port == 8443 or Service.Port == 1) and Service.Port == 2", False),
        ("not Service.Port == 8443 or Service.Port == 8443", True),
        ("not (Service.Port == 8443 or Service.Port == 8443)", False),
        ("not not Service.Port == 8443", True),
        ("not Service.Port == 1 and Service.Port == 1", False),
        ("\t\r\n(\n Service.Port\n==\t8443 ) \n", True),
        # strings
        (r'Service.Meta.version == "\x762"', True),
        (r'Service.Meta.version == "\166\u0032"', True),
        (r'Service.Meta.version == "\U000000762"', True),
        (r"Service.Meta.version == `\x762`", False),
        (r'Service.Meta.accent == "\xc3\xa9"', True),
        ('"x y" in Service.Meta["a-b"]', True),
    ],
)
def test_a_filter_keeps_what_consul_would(text, kept):
    """Every operator and selector means what it means in go-bexpr."""
    assert kept is compile_filter(text)(ENDPOINT)


@pytest.mark.parametrize(
    ("text", "column", "problem"),
    [
        ("Service.Kind == x", 1, "instead of Service.Kind"),
        ("Service.Meta.a.b == 1", 1, "instead of Service.Meta.a.b"),
        ("Node.ID == x", 1, "instead of Node.ID"),
        ("v2 in Checks", 7, "instead of Checks"),
        ("Service.Port == 1 and Service.Nope == 2", 23, "instead of Service.Nope"),
        ("Service.Port == http", 1, "an integer"),
        ("Service.Port == 1.5", 1, "an integer"),
        ("Service.Port is empty", 1, "an operator for a number"),
        ("Service.Meta == x", 1, "an operator for a map"),
        ("Service.Tags == x", 1, "an operator for a list"),
        ("Service.Meta.version = v2", 22, "other than '='"),
        ("Service.Meta.version == ", 25, "a value"),
        ("Service.Meta.version", 21, "an operator"),
        ("Service.Meta.version v2", 22, "an operator"),
        ("Service.Meta.version is v2", 25, "`empty`"),
        ("Service.Meta.version == v2 v3", 28, "`and`, `or` or the end"),
        ("Service.Meta.version == v2)", 27, "`and`, `or` or the end"),
        ("(Service.Meta.version == v2", 28, "a closing parenthesis"),
        ("Service.Meta.version == v2 and", 31, "a value"),
        ("Service.Meta.version == v2 and ", 32, "a value"),
        ('Service.Meta["version == v2', 14, "a closing"),
        ('Service.Meta["version" == v2', 24, "a closing bracket"),
        ("Service.Meta[3] == v2", 14, "a plain number, or quotes"),
        ('Service.Meta.version == "v2', 25, 'a closing "'),
        (r'Service.Meta.version == "a\"b"', 27, "an escape Go knows"),
        (r'Service.Meta.version == "\q"', 26, "an escape Go knows"),
        (r'Service.Meta.version == "\ud800"', 26, "a character that exists"),
        (r'Service.Meta.version == "\xff"', 25, "valid UTF-8"),
        ("Service.Meta.version == 3x", 25, "a plain number, or quotes"),
        ("Service.Meta.version == 1.2.3", 25, "a plain number, or quotes"),
        ("Service.Meta.version matches `(`", 1, "RE2 can read"),
        (r"Service.Meta.version matches `(a)\1`", 1, "RE2 can read"),
        ("(Service.Port == 1)and Service.Port == 2", 20, "`and`, `or` or the end"),
        ("not(Service.Port == 1)", 4, "an operator"),
        ("Service.Port == 1 AND Service.Port == 2", 19, "`and`, `or` or the end"),
        ("32 == 32", 4, "an operator"),
        ("x in 32", 6, "a selector"),
        ("Service .Port == 1", 9, "an operator"),
        (" ", 2, "a value"),
        ("Service.Meta.version == v\ud800", 26, "a character that exists"),
        ("(" * 60 + "Service.Port == 1" + ")" * 60, 52, "no more than 50"),
        ("Service.Port == 1 or " * 300, 4097, "no more than 4096"),
    ],
)
def test_what_is_wrong_is_pointed_at(text, column, problem):
    """A filter that cannot be used says what was expected, and at which column."""
    with pytest.raises(ConfigError) as refused:
        compile_filter(text, path="service-resolver/b.Subsets.v2.Filter")
    assert "service-resolver/b.Subsets.v2.Filter" == refused.value.path
    assert problem in refused.value.why
    assert refused.value.why.endswith(f" at column {column}")


@pytest.mark.parametrize("text", ["Service.Tags contains v2", "Node.Meta.zone == eu"])
def test_what_only_consul_knows_is_refused_elsewhere(text):
    """Rather than matching nothing."""
    compile_filter(text)
    with pytest.raises(ConfigError, match="instead of"):
        compile_filter(text, local=True)


def test_only_passing_leaves_endpoints_with_a_warning_out():
    """Whatever else the filter says; and it is another filter than the one that keeps them."""
    warned = replace(ENDPOINT, warning=True)
    every, strict = compile_filter(""), compile_filter("", only_passing=True)
    assert (True, False) == (every(warned), strict(warned))
    assert strict(ENDPOINT)
    assert every != strict


def test_filters_of_the_same_text_are_equal():
    """So that route tables made from them compare."""
    assert compile_filter("Service.Port == 1") == compile_filter("Service.Port == 1")
    assert compile_filter("Service.Port == 1") != compile_filter("Service.Port == 2")
    assert 1 == len({compile_filter("Service.Port == 1"), compile_filter("Service.Port == 1")})


def test_a_pattern_needs_re2_and_says_so(monkeypatch):
    """Without google-re2 a filter with `matches` is refused with the package's name."""
    monkeypatch.setitem(sys.modules, "re2", None)
    with pytest.raises(ConfigError) as refused:
        compile_filter("Service.Meta.version matches `x`")
    assert "pip install google-re2" == refused.value.hint
    assert compile_filter("Service.Port == 8443")(ENDPOINT)


def test_a_bad_pattern_prints_nothing(capfd):
    """RE2 does not write to the terminal; the error is all there is."""
    with pytest.raises(ConfigError):
        compile_filter("Service.Meta.version matches `(`")
    assert ("", "") == capfd.readouterr()


def test_metadata_need_not_be_utf8():
    """What an instance registered may hold lone surrogates; a pattern just does not match them."""
    odd = Endpoint("a", "h", 1, meta={"version": "\udc80"})
    assert not compile_filter("Service.Meta.version matches `^v`")(odd)
