"""Who may call whom, rule by rule; `tests/property/test_intentions.py` has the whole."""

from __future__ import annotations

import pytest

from meshlib.route.match import PathTest
from meshlib.route.text import How, Named, Text
from meshlib.trust.intention import Intention, IntentionSet
from meshlib.trust.permission import ClaimTest, Permission, Request, TokenTest

GET = Request("GET", "/cities/Oslo")


def path(how: How, operand: str) -> PathTest:
    return PathTest(Text(how, operand))


def header(name: str, how: How, operand: str = "", *, invert: bool = False) -> Named:
    return Named(name, Text(how, operand), invert)


def only(*permissions: Permission, allow: bool = False) -> IntentionSet:
    """A set of one intention, with a default."""
    return IntentionSet("web", (Intention("api", "web", permissions=permissions),), allow)


def request(method="GET", target="/", claims=None, **headers: str) -> Request:
    return Request(method, target, headers.get, claims or {})


RULES = (
    Intention("*", "*", allow=False),
    Intention("api", "*", allow=True),
    Intention("*", "web", allow=False),
    Intention("api", "web", allow=True),
)


@pytest.mark.parametrize(("count", "allowed"), [(1, False), (2, True), (3, False), (4, True)])
def test_the_highest_precedence_decides(count, allowed):
    """Each rule of the table beats those before it, in whatever order they are given."""
    given = RULES[:count]
    for order in (given, given[::-1]):
        decision = IntentionSet("web", order).decide("api", GET)
        assert (allowed, given[-1]) == (decision.allowed, decision.intention)
    assert [5, 6, 8, 9] == [each.precedence for each in RULES]


@pytest.mark.parametrize("default", [True, False])
def test_without_a_rule_the_default_decides(default):
    """Rules about other destinations and other sources are none."""
    others = Intention("api", "db", allow=not default), Intention("shop", "web", allow=not default)
    decision = IntentionSet("web", others, default).decide("api", GET)
    assert (default, None, "default") == (decision.allowed, decision.intention, decision.rule)
    assert "the default is to" in decision.reason


def test_before_anything_is_known_nobody_is_let_in():
    """Fails closed, and says why."""
    decision = IntentionSet.unknown("web").decide("api", GET)
    assert not decision.allowed
    assert "not known yet" in decision.reason


@pytest.mark.parametrize(
    ("anybody", "default", "allowed"),
    [(True, True, True), (True, False, False), (False, True, False), (None, True, True)],
)
def test_a_stranger_needs_the_rule_for_all_and_the_default(anybody, default, allowed):
    """Whoever's identity names no service is none of `*` when that would let it in."""
    rules = () if anybody is None else (Intention("*", "web", allow=anybody),)
    assert allowed == IntentionSet("web", rules, default).decide("", GET).allowed


def test_a_rule_for_all_with_permissions_holds_for_strangers():
    """A denial in it counts; what it allows, the default has to allow too."""
    rule = Intention("*", "web", permissions=(Permission(False, path(How.EXACT, "/admin")),))
    found = IntentionSet("web", (rule,), allow=True)
    assert not found.decide("", request(target="/admin")).allowed
    assert found.decide("", GET).allowed


@pytest.mark.parametrize(
    ("permission", "asked", "takes"),
    [
        (Permission(True, path(How.EXACT, "/a")), request(target="/a"), True),
        (Permission(True, path(How.EXACT, "/a")), request(target="/a/"), False),
        (Permission(True, path(How.PREFIX, "/a")), request(target="/ab"), True),
        (Permission(True, path(How.REGEX, "/a+")), request(target="/aa"), True),
        (Permission(True, path(How.REGEX, "/a+")), request(target="/aab"), False),
        (Permission(True, methods=frozenset({"GET"})), request("POST"), False),
        (Permission(True, headers=(header("x", How.PRESENT),)), request(x=""), True),
        (Permission(True, headers=(header("x", How.PRESENT),)), request(), False),
        (Permission(True, headers=(header("x", How.EXACT, "1"),)), request(x="1,1"), False),
        (Permission(True, headers=(header("x", How.EXACT, "1", invert=True),)), request(), False),
    ],
)
def test_a_permission_asks_for_everything_it_says(permission, asked, takes):
    """Path, method and headers all have to hold; an absent header passes no test."""
    assert takes == only(permission).decide("api", asked).allowed


def test_the_first_permission_that_matches_decides():
    """And the answer says which one it was."""
    found = only(
        Permission(False, path(How.EXACT, "/a")),
        Permission(True, path(How.PREFIX, "/a")),
        Permission(False, path(How.PREFIX, "/")),
    )
    asked = {target: found.decide("api", request(target=target)) for target in ("/a", "/ab", "/b")}
    assert [False, True, False] == [each.allowed for each in asked.values()]
    assert ["api -> web #1", "api -> web #2", "api -> web #3"] == [e.rule for e in asked.values()]


def test_when_no_permission_matches_the_default_decides():
    """Not the next intention in precedence, which would say the opposite."""
    rule = Intention("api", "web", permissions=(Permission(True, path(How.EXACT, "/a")),))
    below = Intention("*", "web", allow=True)
    decision = IntentionSet("web", (rule, below), allow=False).decide("api", GET)
    assert (False, rule, 0) == (decision.allowed, decision.intention, decision.permission)
    assert "no permission of api -> web matches" in decision.reason


def test_a_path_without_one_reading_is_refused_where_paths_are_asked_for():
    """Whatever the default, and whatever the permission would say."""
    found = only(Permission(True, path(How.PREFIX, "/")), allow=True)
    assert not found.decide("api", request(target=None)).allowed
    by_method = only(Permission(True, methods=frozenset({"GET"})))
    assert by_method.decide("api", request(target=None)).allowed


ADMIN = TokenTest((("okta", (ClaimTest(("realm", "roles"), "admin"),)),))


@pytest.mark.parametrize(
    ("claims", "allowed"),
    [
        ({}, False),
        ({"other": {"realm": {"roles": ["admin"]}}}, False),
        ({"okta": {"realm": {"roles": ["admin", "x"]}}}, True),
        ({"okta": {"realm": {"roles": "admin"}}}, True),
        ({"okta": {"realm": {"roles": ["administrator"]}}}, False),
        ({"okta": {"realm": "admin"}}, False),
    ],
)
def test_claims_of_the_end_user(claims, allowed):
    """A token of the provider named, with the claim at its path; asked of one permission or all."""
    asked = request(claims=claims)
    of_one = only(Permission(True, methods=frozenset({"GET"}), token=ADMIN))
    of_all = IntentionSet("web", (Intention("api", "web", allow=True, token=ADMIN),), allow=False)
    assert (allowed, allowed) == tuple(s.decide("api", asked).allowed for s in (of_one, of_all))


def test_without_a_token_a_permission_that_asks_for_one_refuses():
    """As Consul's proxies do, rather than going on to a permission that is less strict."""
    found = only(
        Permission(True, path(How.PREFIX, "/admin"), token=ADMIN),
        Permission(True, path(How.PREFIX, "/")),
        allow=True,
    )
    decision = found.decide("api", request(target="/admin"))
    assert not decision.allowed
    assert "asks for a token" in decision.reason
    assert found.decide("api", request(target="/x")).allowed


def test_of_two_rules_for_the_same_pair_the_first_counts():
    """Consul, which sorts by precedence, has such pairs where namespaces differ."""
    rules = Intention("*", "web", allow=False), Intention("*", "web", allow=True)
    assert not IntentionSet("web", rules).decide("api", GET).allowed


def test_equal_rules_make_equal_sets():
    """So that a write that changed nothing wakes nobody."""
    assert only(Permission(True, path(How.REGEX, "/a"))) == only(
        Permission(True, path(How.REGEX, "/a"))
    )
    assert only(Permission(True)) != only(Permission(False))
    assert IntentionSet("web", allow=True) != IntentionSet("web", allow=False)


GUEST = "spiffe://partner.org/ns/default/dc/local/svc/frontend"
OURS = "spiffe://example.org/ns/default/dc/local/svc/frontend"


def _answer(spiffe_id, service, *rules, allow=False):
    """Whether a caller is let in by web, whose rules are (source, destination, allow)."""
    made = IntentionSet("web", tuple(Intention(*each[:2], each[2]) for each in rules), allow=allow)
    return made.decide(made.known_as(spiffe_id, service), Request("GET", "/", {}.get)).allowed


def test_a_stranger_that_is_named_by_its_id():
    """Is let in by that rule alone, and another one is not."""
    rule = GUEST, "web", True
    assert _answer(GUEST, "", rule)
    assert not _answer(f"{GUEST}2", "", rule)
    assert not _answer(GUEST, "", (GUEST, "web", False), ("*", "web", True), allow=True)


def test_a_stranger_that_is_not_named_stays_one():
    """Rules for everybody of a higher precedence than its own do not make it known."""
    rules = (GUEST, "*", True), ("*", "web", True)
    assert not _answer(GUEST, "", *rules)
    assert _answer(GUEST, "", *rules, allow=True)


def test_one_of_ours_that_is_named_by_its_id():
    """A rule that denies it is obeyed, whichever of its names was used."""
    assert not _answer(OURS, "frontend", (OURS, "web", False), ("frontend", "web", True))
    assert not _answer(OURS, "frontend", (OURS, "*", True), ("frontend", "web", False))
    assert not _answer(OURS, "frontend", (OURS, "web", False), ("frontend", "*", True), allow=True)
    assert _answer(OURS, "frontend", (OURS, "web", True))


def test_an_id_as_a_source_that_nobody_looked_up():
    """Is a stranger's, and no service's."""
    open_to_ours = IntentionSet("web", (Intention("*", "web", allow=True),), allow=False)
    assert not open_to_ours.decide(GUEST, Request("GET", "/", {}.get)).allowed


@pytest.mark.parametrize("allow", [True, False])
def test_what_is_settled_does_not_depend_on_the_request(allow):
    """Without permissions a source is answered the same whatever it asks for; else it is open."""
    rules = IntentionSet(
        "backend",
        (
            Intention("frontend", "backend", allow=not allow),
            Intention("other", "backend", permissions=(Permission(allow=allow),)),
        ),
        allow=allow,
    )
    for source in "frontend", "anybody":
        assert rules.decide(source, request()) == rules.settled(source)
    assert rules.settled("other") is None
