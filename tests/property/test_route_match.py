"""Precedence is total and stable; header changes can be repeated."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from meshlib.route.headers import HeaderChanges
from meshlib.route.match import HttpMatch, PathTest, precedence
from meshlib.route.text import How, Named, Text

PATHS = st.builds(
    lambda how, tail: PathTest(Text(how, "/" + tail)),
    st.sampled_from([How.EXACT, How.PREFIX, How.REGEX]),
    st.text("ab", max_size=3),
)
TESTS = st.lists(
    st.builds(lambda name: Named(name, Text(How.PRESENT)), st.sampled_from("xyz")), max_size=2
).map(tuple)
MATCHES = st.builds(
    HttpMatch,
    path=st.none() | PATHS,
    methods=st.frozensets(st.sampled_from(["GET", "POST"])),
    headers=TESTS,
    query=TESTS,
    cookies=TESTS,
)
NAMES = st.sampled_from(["a", "A", "b", "c"])
PAIRS = st.lists(st.tuples(NAMES, st.text("xyz", min_size=1, max_size=2)), max_size=4).map(tuple)


def grouped(headers):
    """What each name says; between names order means nothing."""
    return {name.lower(): headers.getall(name) for name in headers}


@given(st.lists(MATCHES, max_size=8), st.randoms())
def test_precedence_is_total_and_stable(matches, random):
    """Shuffled routes come out in the same order, except those that are equal in rank.

    Dropping any component from the key (say, the prefix's length) lets the last test here fail.
    """
    ordered = sorted(matches, key=precedence)
    shuffled = list(matches)
    random.shuffle(shuffled)
    assert [precedence(m) for m in ordered] == [
        precedence(m) for m in sorted(shuffled, key=precedence)
    ]
    for index, match in enumerate(ordered[1:]):
        if precedence(ordered[index]) == precedence(match):
            assert matches.index(ordered[index]) <= matches.index(match)


@given(st.text("ab", min_size=1, max_size=4), st.text("ab", max_size=4))
def test_gateway_api_order_of_paths(path, shorter):
    """Exact before prefix, the longer prefix first, then expressions, then no path at all."""
    exact = HttpMatch(path=PathTest(Text(How.EXACT, "/" + path)))
    prefix = HttpMatch(path=PathTest(Text(How.PREFIX, "/" + path + shorter)))
    less = HttpMatch(path=PathTest(Text(How.PREFIX, "/" + path[:-1])))
    regex = HttpMatch(
        path=PathTest(Text(How.REGEX, "/.*")),
        methods=frozenset({"GET"}),
        headers=(Named("x", Text(How.PRESENT)),),
    )
    order = [exact, prefix, less, regex, HttpMatch()]
    backwards = list(reversed(order))
    assert order == sorted(backwards, key=precedence)


def test_gateway_api_order_of_the_rest():
    """Of equal paths: a method, then more headers, more query parameters, more cookies."""
    one, two = Named("x", Text(How.PRESENT)), Named("y", Text(How.PRESENT))
    order = [
        HttpMatch(methods=frozenset({"GET"})),
        HttpMatch(headers=(one, two)),
        HttpMatch(headers=(one,), query=(one,)),
        HttpMatch(headers=(one,)),
        HttpMatch(query=(one, two)),
        HttpMatch(query=(one,), cookies=(one,)),
        HttpMatch(query=(one,)),
        HttpMatch(cookies=(one,)),
        HttpMatch(segments=(bool,)),
        HttpMatch(),
    ]
    backwards = list(reversed(order))
    assert order == sorted(backwards, key=precedence)


@given(PAIRS, PAIRS, st.lists(NAMES, max_size=3).map(tuple))
def test_setting_and_removing_can_be_repeated(headers, to_set, remove):
    """Twice is once, and what was given stays as it was."""
    changes = HeaderChanges(set=to_set, remove=remove)
    before = CIMultiDict(headers)
    once = changes.applied(before)
    assert grouped(once) == grouped(changes.applied(once))
    assert list(headers) == list(before.items())


@given(PAIRS, PAIRS, PAIRS, st.lists(NAMES, max_size=3).map(tuple))
def test_raw_headers_change_as_the_others_do(headers, to_add, to_set, remove):
    """The two views of one reply never contradict each other."""
    changes = HeaderChanges(add=to_add, set=to_set, remove=remove)
    mapped = changes.applied(CIMultiDict(headers))
    raw = changes.applied_raw([(name.encode(), value.encode()) for name, value in headers])
    seen = CIMultiDict((name.decode(), value.decode()) for name, value in raw)
    assert grouped(mapped) == grouped(seen)
