from __future__ import annotations

import pytest
from multidict import CIMultiDict

from meshlib.errors import ConfigError
from meshlib.model import Call
from meshlib.route import match as match_module
from meshlib.route.match import REMEMBERED, HttpMatch, PathTest, query_values
from meshlib.route.regex import LONGEST, Regex
from meshlib.route.text import How, Named, Text, header_value


def path(how, operand, **more):
    """A match of the path alone."""
    return HttpMatch(path=PathTest(Text(how, operand, **more)))


def header(how, operand="", *, invert=False, **more):
    """A match of the header `x-v` alone."""
    return HttpMatch(headers=(Named("x-v", Text(how, operand, **more), invert),))


def get(where="/", query="", **headers):
    """A call with these headers."""
    said = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return Call("backend", path=where, query=query, headers=said)


@pytest.mark.parametrize(
    ("how", "operand", "takes", "leaves"),
    [
        (How.EXACT, "/a", ["/a"], ["/a/", "/A", "/", "/a/b"]),
        (How.PREFIX, "/a", ["/a", "/ab", "/a/b"], ["/", "/b/a", "/A"]),
        (How.REGEX, "/a/[0-9]+", ["/a/1", "/a/12"], ["/a/", "/a/1/b", "x/a/1"]),
    ],
)
def test_paths(how, operand, takes, leaves):
    """Exact is whole, a prefix is of characters, an expression matches the whole path."""
    assert all(path(how, operand)(get(where)) for where in takes)
    assert not any(path(how, operand)(get(where)) for where in leaves)


@pytest.mark.parametrize("how", [How.EXACT, How.PREFIX, How.REGEX])
def test_paths_without_regard_to_case(how):
    """CaseInsensitive holds for every way to compare."""
    assert path(how, "/Shop", ignore_case=True)(get("/sHOP"))
    assert not path(how, "/Shop")(get("/sHOP"))


@pytest.mark.parametrize(
    ("how", "operand", "takes", "leaves"),
    [
        (How.EXACT, "v1", "v1", "v11"),
        (How.PREFIX, "v", "v1", "1v"),
        (How.SUFFIX, "1", "v1", "1v"),
        (How.CONTAINS, "-b-", "a-b-c", "a-b"),
        (How.REGEX, "v[0-9]", "v1", "v12"),
    ],
)
def test_headers(how, operand, takes, leaves):
    """A header is compared whole; inverted, what passed does not and what did not does."""
    assert header(how, operand)(get(x_v=takes))
    assert not header(how, operand)(get(x_v=leaves))
    assert not header(how, operand, invert=True)(get(x_v=takes))
    assert header(how, operand, invert=True)(get(x_v=leaves))


def test_what_is_not_there_passes_no_test_but_the_absence():
    """Envoy: a missing header does not match, inverted or not, unless its absence is asked for."""
    assert not header(How.EXACT, "v1", invert=True)(get())
    assert not header(How.PRESENT)(get())
    assert header(How.PRESENT)(get(x_v=""))
    assert header(How.PRESENT, invert=True)(get())


def test_repeated_headers_are_one():
    """What is sent twice is compared as one value with a comma."""
    headers = CIMultiDict([("X-V", "a"), ("x-v", "b")])
    assert "a,b" == header_value(headers, "x-v")
    assert "a" == header_value({"x-v": "a"}, "x-v")
    assert None is header_value(headers, "x-w")


def test_query_parameters_are_decoded_and_the_first_counts():
    """`a=1&a=2` is 1; `%20` and `+` are blanks; an empty one is there."""
    assert {"a": "1", "b": "x y z", "c": ""} == query_values("a=1&a=2&b=x%20y+z&c=")
    match = HttpMatch(query=(Named("b", Text(How.EXACT, "x y")),))
    assert match(get(query="b=x%20y"))
    assert not match(get(query=""))


def test_cookies():
    """A cookie is one of those in the Cookie header."""
    match = HttpMatch(cookies=(Named("beta", Text(How.EXACT, "yes")),))
    assert match(get(cookie="a=b; beta=yes"))
    assert not match(get(cookie="beta=no"))
    assert not match(get())


def test_methods_and_segments():
    """One of the methods, one of the segments, and everything else too."""
    staff = HttpMatch(
        methods=frozenset({"GET"}), segments=(lambda call: "x-staff" in call.headers,)
    )
    assert staff(get(x_staff="1"))
    assert not staff(get())
    assert not staff(Call("backend", method="POST", headers={"x-staff": "1"}))


def test_only_a_match_that_says_nothing_takes_everything():
    """The prefix "/" is nothing, for every path has it."""
    assert HttpMatch().everything
    assert path(How.PREFIX, "/").everything
    assert not path(How.PREFIX, "/a").everything
    assert not HttpMatch(methods=frozenset({"GET"})).everything


@pytest.mark.parametrize("pattern", [r"(a)\1", "(?=a)", "(", "a{2000}", "["])
def test_what_re2_refuses_is_refused_when_it_is_loaded(pattern):
    """With the path of the field, the expression and RE2's own words."""
    with pytest.raises(ConfigError) as refused:
        Regex(pattern, path="Routes[0].PathRegex")
    assert ("Routes[0].PathRegex", pattern) == (refused.value.path, refused.value.value)
    assert "an expression RE2 accepts (" in refused.value.why


def test_the_size_of_an_expression_is_bounded():
    """By its text, and by what it compiles to."""
    with pytest.raises(ConfigError, match="no more than 1024 characters"):
        Regex("a" * (LONGEST + 1))
    with pytest.raises(ConfigError, match="RE2 accepts"):
        Regex(r"((\pL{500}){100}){100}")


def test_an_expression_that_kills_others_is_linear_here():
    """The classic of catastrophic backtracking answers; a backtracking engine would not, ever."""
    assert not Regex("(a*)*b").matches("a" * 5000)


def test_decisions_are_remembered_by_path_and_not_without_bound(monkeypatch):
    """The same path asks RE2 once; more paths than fit push the oldest out."""
    asked = []
    monkeypatch.setattr(Regex, "matches", lambda self, text: asked.append(text) or True)
    test = PathTest(Text(How.REGEX, "/.*"))
    for _ in range(3):
        assert test.passes("/a")
    assert ["/a"] == asked
    for number in range(REMEMBERED):
        test.passes(f"/{number}")
    test.passes("/a")
    assert 2 == asked.count("/a")
    longest = "/" * (match_module.LONGEST_REMEMBERED + 1)
    test.passes(longest)
    test.passes(longest)
    assert 2 == asked.count(longest)


def test_plain_comparisons_never_load_re2(monkeypatch):
    """Who writes no expression does not need the extra."""
    monkeypatch.setitem(__import__("sys").modules, "re2", None)
    assert path(How.PREFIX, "/a")(get("/a"))
    with pytest.raises(ConfigError, match="meshlib\\[regex\\]"):
        Regex("never seen before in this process")


def test_equal_matches_are_equal():
    """Plans compare by value, expressions and all."""
    assert path(How.REGEX, "/a+") == path(How.REGEX, "/a+")
    assert hash(path(How.REGEX, "/a+")) == hash(path(How.REGEX, "/a+"))
    assert path(How.REGEX, "/a+") != path(How.REGEX, "/a+", ignore_case=True)
