from __future__ import annotations

import asyncio

import pytest

from meshlib.model import (
    Call,
    Endpoint,
    Failed,
    Identity,
    Neg,
    Pending,
    Reply,
    Snapshot,
    Target,
    Verdict,
)


def test_endpoints_compare_by_everything_they_say():
    """Other metadata makes another endpoint; equal ones hash alike."""
    one, same = (Endpoint("a", "10.0.0.1", 80, meta={"version": "v1"}) for _ in range(2))
    assert one == same
    assert hash(one) == hash(same)
    assert one != Endpoint("a", "10.0.0.1", 80, meta={"version": "v2"})
    assert one != Endpoint("a", "10.0.0.1", 81, meta={"version": "v1"})


def test_an_endpoint_says_where_and_what_it_is():
    """Address, authority and version are read off; no version is the empty one."""
    endpoint = Endpoint("a", "10.0.0.1", 80, meta={"version": "v1"})
    assert ("10.0.0.1", 80) == endpoint.address
    assert ("v1", "") == (endpoint.version, Endpoint("a", "h", 1).version)
    assert "a@10.0.0.1:80" == str(endpoint)
    assert "[::1]:80" == Endpoint("a", "::1", 80).authority


def test_the_index_of_a_snapshot_is_not_news():
    """A write that changed nothing makes an equal snapshot; another endpoint does not."""
    assert Snapshot("b", (), index=1) == Snapshot("b", (), index=2)
    assert Snapshot("b", ()) != Snapshot("b", (Endpoint("a", "h", 1),))


def test_resolutions_tell_each_other_apart():
    """No answer, no such service and no registry are three different things."""
    assert 3 == len({Pending(), Neg(), Failed("refused")})
    assert Pending() == Pending()


@pytest.mark.parametrize(
    ("verdict", "failed"),
    [
        (Verdict.SUCCESS, False),
        (Verdict.FAILURE, True),
        (Verdict.RETRYABLE, True),
        (Verdict.IGNORED, False),
    ],
)
def test_only_failures_are_the_endpoints_fault(verdict, failed):
    """A caller that went away says nothing about the endpoint."""
    assert failed is verdict.failed


def test_targets_and_identities_print_as_people_say_them():
    """A subset stands before its service, as in Consul's SNI."""
    assert ("v1.backend", "backend") == (str(Target("backend", "v1")), str(Target("backend")))
    assert "spiffe://mesh/a" == str(Identity("spiffe://mesh/a", "a"))


@pytest.mark.parametrize(
    ("method", "headers", "idempotent"),
    [
        *((method, {}, True) for method in ("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE")),
        *((method, {}, False) for method in ("POST", "PATCH", "get", "CONNECT")),
        ("POST", {"idempotency-key": "7"}, True),
    ],
)
def test_what_may_be_sent_twice(method, headers, idempotent):
    """RFC 9110's methods, and whatever carries an idempotency key."""
    assert idempotent is Call("b", method, headers=headers).idempotent


def test_calls_are_told_apart_by_being_not_by_value():
    """Two calls that look alike are two calls, and their mutable parts are their own."""
    one, other = Call("b"), Call("b")
    assert one != other
    assert {} == dict(one.headers) == dict(other.headers)


class TestReply:
    def test_a_streamed_reply_reports_its_end_once(self):
        """Everybody who asked hears of the first end, in order, and of no other."""
        heard = []
        reply = Reply(200, content=None)
        reply.on_close(lambda error: heard.append(("first", error)))
        reply.on_close(lambda error: heard.append(("second", error)))
        assert not reply.closed
        broken = OSError("reset")
        reply.close(broken)
        reply.close()
        assert [("first", broken), ("second", broken)] == heard

    def test_a_whole_reply_is_closed_from_birth(self):
        """Who asks late hears at once that all went well."""
        heard = []
        reply = Reply(200, content=b"whole")
        reply.on_close(heard.append)
        assert ([None], True) == (heard, reply.closed)

    def test_discarding_ends_it(self):
        """What is thrown away has ended well."""
        heard = []
        reply = Reply(200, content=None)
        reply.on_close(heard.append)
        asyncio.run(reply.discard())
        assert [None] == heard

    def test_it_shows_its_state(self):
        """The representation says status and whether it is still open."""
        assert "<Reply 200 from None open>" == repr(Reply(200, content=None))
        assert "<Reply 404 from None closed>" == repr(Reply(404))
