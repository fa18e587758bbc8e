from __future__ import annotations

import contextlib

from hypothesis import example, given
from hypothesis import strategies as st

from meshlib.errors import ConfigError
from meshlib.model import Endpoint
from meshlib.route.bexpr import And, Match, Not, Operator, Or, parse
from meshlib.route.filter import compile_filter

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
KEYS = st.sampled_from(["version", "zone", "a-b", "x y", 'quo"te'])
META = KEYS.map(lambda key: ("Service", "Meta", key))
SELECTORS = META | st.sampled_from([("Service", "ID"), ("Service", "Address")])


def matches(selectors=SELECTORS, values=TEXT):
    """Single questions."""
    asked = st.builds(
        Match, selectors, st.sampled_from([Operator.EQUAL, Operator.IN]), values, st.booleans()
    )
    empty = st.builds(Match, selectors, st.just(Operator.EMPTY), st.just(""), st.booleans())
    return asked | empty


def combined(inner):
    """Questions joined and negated."""
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    # `not not x` is read as `x`, so only other terms are negated here.
    negated = inner.filter(lambda term: not isinstance(term, Not)).map(Not)
    return several.map(And) | several.map(Or) | negated


TREES = st.recursive(matches(), combined, max_leaves=8)
ENDPOINTS = st.builds(
    Endpoint,
    id=st.text(max_size=3),
    host=st.text(max_size=3),
    port=st.integers(1, 65535),
    meta=st.dictionaries(KEYS, TEXT, max_size=3),
)
WORDS = st.sampled_from(
    [
        *("Service", ".Meta", ".version", ".Port", "==", "!=", "in", "not", "is", "empty", "and"),
        *("or", "matches", "contains", "v2", "8", "-", ".", " ", "\n", *'()[]"`\\'),
    ]
)


def truth(tree, endpoint):
    """What a tree means, said in the plainest way."""
    match tree:
        case Not(term):
            return not truth(term, endpoint)
        case And(terms):
            return all(truth(term, endpoint) for term in terms)
        case Or(terms):
            return any(truth(term, endpoint) for term in terms)
    here = {("Service", "ID"): endpoint.id, ("Service", "Address"): endpoint.host}
    found = here.get(tree.selector, endpoint.meta.get(tree.selector[-1]))
    answer = {
        Operator.EQUAL: found == tree.value,
        Operator.IN: found is not None and tree.value in found,
        Operator.EMPTY: not found,
    }[tree.operator]
    return answer is not tree.negated


@given(TREES)
def test_a_printed_tree_reads_back_as_itself(tree):
    """Printing and parsing are each other's opposite."""
    assert tree == parse(str(tree))


@given(TREES, ENDPOINTS)
def test_a_filter_does_what_its_tree_means(tree, endpoint):
    """The compiled filter and the plain reading of the tree agree on every endpoint."""
    assert truth(tree, endpoint) is compile_filter(str(tree))(endpoint)


@given(st.lists(WORDS, max_size=25).map(" ".join) | st.lists(WORDS, max_size=25).map("".join))
@example("(" * 3000)
@example("not " * 1000)
@example('Service.Meta.version == "\\xff\\u12')
def test_word_salad_raises_nothing_but_config_errors(text):
    """A filter is read, or refused in words; nothing else happens."""
    with contextlib.suppress(ConfigError):
        compile_filter(text)(Endpoint("a", "h", 1, meta={"version": "v2"}))


@given(st.text(max_size=60))
def test_any_text_raises_nothing_but_config_errors(text):
    """The same for text of any kind."""
    with contextlib.suppress(ConfigError):
        compile_filter(text)


@given(st.text(max_size=20))
def test_any_pattern_raises_nothing_but_config_errors(pattern):
    """The same for any regular expression, and any metadata it meets."""
    if "`" not in pattern:
        with contextlib.suppress(ConfigError):
            kept = compile_filter(f"Service.Meta.version matches `{pattern}`")
            kept(Endpoint("a", "h", 1, meta={"version": pattern + "\ud800"}))
