"""
The compiled intentions against a naive reading of Consul's text.

By hand: swapping the two loops of `_best` (exact source before exact destination), going on to the
next intention when no permission matches, and taking the last permission instead of the first are
each found here.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshlib.route.match import PathTest
from meshlib.route.text import How, Named, Text
from meshlib.trust.intention import Intention, IntentionSet
from meshlib.trust.paths import plain_path
from meshlib.trust.permission import Permission, Request

SERVICES = ("api", "web", "db")
PATHS = ("/", "/a", "/a/b", "/b")
VALUES = st.sampled_from([None, "", "1", "2", "12"])

names = st.sampled_from([*SERVICES, "*"])
paths = st.builds(
    lambda how, operand: PathTest(Text(how, operand)),
    st.sampled_from([How.EXACT, How.PREFIX, How.REGEX]),
    st.sampled_from(PATHS),
)
headers = st.builds(
    lambda how, invert: Named("x", Text(how, "1"), invert),
    st.sampled_from([How.PRESENT, How.EXACT, How.PREFIX, How.SUFFIX, How.CONTAINS]),
    st.booleans(),
)
permissions = st.builds(
    Permission,
    st.booleans(),
    st.none() | paths,
    st.frozensets(st.sampled_from(["GET", "POST"])),
    st.lists(headers, max_size=1).map(tuple),
)
intentions = st.builds(
    Intention, names, names, st.booleans(), st.lists(permissions, max_size=3).map(tuple)
)
unique = st.lists(intentions, max_size=12, unique_by=lambda each: (each.source, each.destination))


def naive(rules: list[Intention], source: str, asked: Request, *, default: bool) -> bool:
    """Consul's documentation, word by word.

    "Precedence: if there is no intention that exactly matches, the one with the highest precedence
    is used." "The first permission that matches is used; if none matches, the default applies."
    """
    table = {(True, True): 9, (False, True): 8, (True, False): 6, (False, False): 5}
    found = [each for each in rules if each.concerns(source, "web")]
    found.sort(key=lambda each: -table[each.source != "*", each.destination != "*"])
    if not found:
        return default
    rule = found[0]
    if not rule.permissions:
        return rule.allow
    for each in rule.permissions:
        path_fits = each.path is None or each.path.test.passes(asked.path)
        method_fits = not each.methods or asked.method in each.methods
        headers_fit = all(test(asked.header("x")) for test in each.headers)
        if path_fits and method_fits and headers_fit:
            return each.allow
    return default


@given(
    unique,
    st.sampled_from([*SERVICES, "unheard-of"]),
    st.booleans(),
    st.sampled_from(["GET", "POST", "PUT"]),
    st.sampled_from(PATHS),
    VALUES,
)
def test_the_compiled_set_decides_as_consul_does(rules, source, default, method, path, value):
    """For every set of rules, every caller and every request."""
    asked = Request(method, path, lambda _: value)
    decision = IntentionSet("web", tuple(rules), default).decide(source, asked)
    assert naive(rules, source, asked, default=default) == decision.allowed
    assert decision.intention is None or decision.intention in rules


@given(unique, st.booleans(), st.sampled_from(PATHS))
def test_a_stranger_is_never_let_in_where_a_service_without_a_rule_is_not(rules, default, path):
    """No identity outside of the mesh's names is better off than one inside that nobody names."""
    rules = tuple(rules)
    asked = Request("GET", path)
    found = IntentionSet("web", rules, default)
    assert found.decide("unheard-of", asked).allowed or not found.decide("", asked).allowed


@given(st.text(max_size=40).map("/".__add__))
def test_a_reading_reads_as_itself(target):
    """Whatever is sent: never a crash, and what was read has no hidden second reading."""
    path = plain_path(target)
    if path is not None:
        assert "//" not in path
        assert not {".", ".."} & set(path.split("/"))
        assert "%" in path or path == plain_path(path)
