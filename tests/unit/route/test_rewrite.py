from __future__ import annotations

import pytest
from multidict import CIMultiDict

from meshlib.config.routes import AnswerConfig, RedirectConfig
from meshlib.errors import ConfigError
from meshlib.model import Call
from meshlib.route.answer import Direct, Redirect
from meshlib.route.headers import HeaderChanges, check_changes
from meshlib.route.regex import Regex
from meshlib.route.rewrite import PrefixRewrite, RegexRewrite


@pytest.mark.parametrize(
    ("matched", "into", "path", "expected"),
    [
        ("/api", "/", "/api/x", "//x"),  # Envoy's own surprise: write `/api/` to `/`
        ("/api/", "/", "/api/x", "/x"),
        ("/api", "/v2/api", "/api", "/v2/api"),
    ],
)
def test_the_matched_prefix_is_replaced(matched, into, path, expected):
    """The rest stays as it is, character by character."""
    assert expected == PrefixRewrite(len(matched), into)(path)


def test_a_rewrite_by_expression_replaces_every_part_that_matches():
    r"""Groups are \1, \2; the path begins with a slash whatever the substitution is."""
    assert "/b/x/a" == RegexRewrite(Regex("/a/([^/]+)"), r"/b/\1/a")("/a/x")
    assert "/-/-" == RegexRewrite(Regex("[0-9]+"), "-")("/12/3")
    assert "/x" == RegexRewrite(Regex("^/a/"), "")("/a/x")


@pytest.mark.parametrize("substitution", [r"\2", r"\x", "a b", "a?b", "a\r\nb", "a#b"])
def test_a_substitution_that_cannot_be_sent_is_refused(substitution):
    """Unknown groups, blanks, line ends, and what would begin a query or a fragment."""
    with pytest.raises(ConfigError, match="Substitution"):
        RegexRewrite(Regex("(a)"), substitution)


@pytest.mark.parametrize("into", ["", "a", "/a b", "/a?b", "/ä"])
def test_a_prefix_that_cannot_be_sent_is_refused(into):
    """A path begins with a slash and is percent-encoded."""
    with pytest.raises(ConfigError, match="PrefixRewrite"):
        PrefixRewrite(1, into)


def test_headers_are_removed_then_added_then_set():
    """What is set is there once, whatever was added; the original is not touched."""
    before = CIMultiDict([("A", "1"), ("a", "2"), ("B", "3")])
    changes = HeaderChanges(add=(("b", "4"),), set=(("c", "5"),), remove=("a",))
    assert [("B", "3"), ("b", "4"), ("c", "5")] == list(changes.applied(before).items())
    assert 3 == len(before)
    raw = [(b"A", b"1"), (b"a", b"2"), (b"B", b"3"), (b"C", b"0")]
    assert [(b"B", b"3"), (b"b", b"4"), (b"c", b"5")] == list(changes.applied_raw(raw))


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        (HeaderChanges(set=(("a b", "x"),)), "Set.a b"),
        (HeaderChanges(set=(("a", "x\r\nb: y"),)), "Set.a"),
        (HeaderChanges(add=(("a", "x\ny"),)), "Add.a"),
        (HeaderChanges(remove=("ok", "Content-Length")), "Remove[1]"),
        (HeaderChanges(add=(("Transfer-Encoding", "x"),)), "Add.Transfer-Encoding"),
        (HeaderChanges(set=(("host", "x"),)), "Set.host"),
        (HeaderChanges(set=(("a", "%DOWNSTREAM_REMOTE_ADDRESS%"),)), "Set.a"),
    ],
)
def test_changes_nobody_may_make(changes, path):
    """Injected lines, framing, the host, and variables that would be sent as they stand."""
    with pytest.raises(ConfigError) as refused:
        check_changes(changes)
    assert path == refused.value.path


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"host": "new.example"}, "http://new.example/a/b?q=1"),
        ({"scheme": "https", "port": 8443}, "https://backend:8443/a/b?q=1"),
        ({"path": "/z", "strip_query": True}, "http://backend/z"),
        ({"prefix": "/z"}, "http://backend/z/b?q=1"),
    ],
)
def test_where_a_redirect_leads(config, expected):
    """What is not said stays as in the request."""
    redirect = Redirect(RedirectConfig(**config), matched=len("/a"))
    reply = redirect(Call("backend", path="/a/b", query="q=1"))
    assert (302, expected) == (reply.status, reply.headers["Location"])


def test_a_direct_response_is_whole():
    """Status, headers, body and its length; the answer to HEAD has the length only."""
    direct = Direct(AnswerConfig(status=418, body="tea", headers={"x-pot": "1"}))
    reply = direct(Call("backend"))
    assert (418, b"tea", "3", "1") == (
        reply.status,
        reply.content,
        reply.headers["content-length"],
        reply.headers["x-pot"],
    )
    assert (b"x-pot", b"1") in reply.raw_headers
    head = direct(Call("backend", method="HEAD"))
    assert (b"", "3") == (head.content, head.headers["content-length"])
