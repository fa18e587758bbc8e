"""What is suggested allows what was observed, and by the commands as by the document."""

from __future__ import annotations

import shlex

from hypothesis import given
from hypothesis import strategies as st

from meshlib.cli.suggest import _commands
from meshlib.control.authorization import intention_set
from meshlib.control.documents import validate
from meshlib.control.grants import condition, with_rule
from meshlib.control.observed import Seen
from meshlib.control.registry import Document
from meshlib.control.suggest import suggested
from meshlib.serve.observed import LONGEST, pattern
from meshlib.trust.paths import plain_path
from meshlib.trust.permission import Request

SEGMENT = st.sampled_from(["a", "b", "cities", "42", "v1", "", "0123456789abcdef", "x@y", "é", "*"])
PATH = st.lists(SEGMENT, min_size=1, max_size=4).map(lambda found: "/" + "/".join(found))
ASKED = st.tuples(
    st.sampled_from(["api", "web"]), st.sampled_from(["GET", "PUT", "POST"]), PATH
).filter(lambda asked: plain_path(asked[2]) is not None)


def seen(asked):
    return [Seen(caller, method, pattern(plain_path(path)), 1) for caller, method, path in asked]


def as_set(body):
    document = Document("service-intentions", "backend", body)
    validate(document)
    return intention_set("backend", (document,))


@given(st.lists(ASKED, max_size=60))
def test_what_was_observed_is_allowed(asked):
    """Every request, with whatever name of a thing; and nobody else may do anything."""
    found = as_set(suggested("backend", seen(asked)))
    for caller, method, path in asked:
        assert found.decide(caller, Request(method, plain_path(path))).allowed, path
    for caller in {"api", "web", "stranger", ""} - {caller for caller, _, _ in asked}:
        assert not found.decide(caller, Request("GET", "/a")).allowed


@given(st.lists(ASKED, max_size=12))
def test_what_was_not_is_denied(asked):
    """Methods that nobody used, and paths beside all that were asked for."""
    found = as_set(suggested("backend", seen(asked)))
    for caller in "api", "web":
        assert not found.decide(caller, Request("DELETE", "/a")).allowed
        tops = {pattern(plain_path(path)) for who, _, path in asked if who == caller}
        if all(top.count("/") > 1 for top in tops):
            assert not found.decide(caller, Request("GET", "/elsewhere")).allowed


@given(st.lists(ASKED, min_size=1, max_size=30), ASKED)
def test_the_commands_say_the_same(asked, other):
    """Run one after the other, on an empty document."""
    body = suggested("backend", seen(asked))
    made = {}
    for line in _commands("backend", body):
        words = shlex.split(line, comments=True)
        assert ("meshlib", "backend") == (words[0], words[3])
        given = list(zip(words[4::2], words[5::2], strict=True))
        methods = [value for name, value in given if name == "--method"]
        path = next((value for name, value in given if name == "--path"), None)
        made = with_rule(made, words[2], words[1], condition(path, methods, ()))
    by_commands, by_document = as_set(made), as_set(body)
    for caller, method, path in [*asked, other]:
        request = Request(method, plain_path(path))
        assert by_document.decide(caller, request).allowed == (
            by_commands.decide(caller, request).allowed
        )


@given(st.text().map(lambda text: f"/{text}"))
def test_patterns_are_bounded_and_hold_no_data(path):
    """They are short, cover the path they are made of, and a `*` stands at the end only."""
    found = pattern(path)
    assert len(found) <= LONGEST + 1
    assert found == path or (found.endswith("*") and path.startswith(found[:-1]))
