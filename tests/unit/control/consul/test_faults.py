"""What Consul answers, told apart, and which right is missing."""

from __future__ import annotations

import pytest

from meshlib.control.consul import faults
from meshlib.control.consul.faults import Asked, fault_of
from meshlib.control.consul.rights import right_for

WRAPPED = "rpc error making call: rpc error making call: "


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (400, "Request decode failed", faults.BadRequest),
        (405, "method POST not allowed", faults.BadRequest),
        (413, "too large", faults.BadRequest),
        (403, "ACL not found", faults.NotAllowed),
        (500, "ACL not found", faults.NotAllowed),
        (403, WRAPPED + "Permission denied", faults.NotAllowed),
        (403, "Permission denied: token with AccessorID 'x' lacks permission", faults.NotAllowed),
        (404, "", faults.NotThere),
        (429, "retry elsewhere", faults.RateLimited),
        (500, "Rate limit reached, try again later", faults.RateLimited),
        (500, "No cluster leader", faults.NoLeader),
        (500, "No path to datacenter", faults.UnknownDatacenter),
        (500, "Connect must be enabled in order to use this endpoint", faults.ConnectDisabled),
        (500, "rpc error: EOF", faults.ServerTrouble),
        (503, "retry later", faults.ServerTrouble),
    ],
)
def test_answers_are_told_apart(status, text, expected):
    """Status and words together say what it is."""
    fault = fault_of(Asked("GET", "/v1/health/connect/web"), status, text)
    assert expected is type(fault)
    assert status == fault.status


def test_an_unknown_token_is_not_a_missing_right():
    """Words about the token are kept apart from those about a right, which is named."""
    asked = Asked("GET", "/v1/discovery-chain/web")
    assert "does not know the token" in str(fault_of(asked, 403, "ACL not found"))
    assert "service:read on 'web'" in str(fault_of(asked, 403, "Permission denied"))


def test_long_words_are_cut():
    """A page of HTML from a proxy in between does not fill the log."""
    fault = fault_of(Asked("GET", "/v1/kv/a"), 502, "x" * 100_000)
    assert 1000 > len(str(fault))


@pytest.mark.parametrize(
    ("method", "path", "said", "expected"),
    [
        ("PUT", "/v1/agent/service/register", {"Name": "web"}, "service:write on 'web'"),
        (
            "PUT",
            "/v1/agent/service/deregister/web-1",
            {},
            "service:write on the instance's service",
        ),
        ("PUT", "/v1/agent/check/update/c", {}, "service:write on the instance's service"),
        ("GET", "/v1/agent/connect/ca/leaf/web", {}, "service:write on 'web'"),
        ("GET", "/v1/agent/connect/ca/leaf/a%20b", {}, "service:write on 'a b'"),
        ("POST", "/v1/agent/connect/authorize", {"Target": "web"}, "service:write on 'web'"),
        ("GET", "/v1/agent/members", {}, "node:read"),
        ("GET", "/v1/agent/self", {}, "agent:read"),
        ("GET", "/v1/discovery-chain/web", {}, "service:read on 'web'"),
        ("GET", "/v1/config/service-resolver/web", {}, "service:read on 'web'"),
        (
            "PUT",
            "/v1/config",
            {"Kind": "service-splitter", "Name": "web"},
            "service:write on 'web'",
        ),
        ("PUT", "/v1/config", {"Kind": "proxy-defaults", "Name": "global"}, "operator:write"),
        ("DELETE", "/v1/config/service-intentions/web", {}, "intentions:write on 'web'"),
        ("GET", "/v1/connect/intentions/match", {"name": "web"}, "intentions:read on 'web'"),
        ("PUT", "/v1/connect/ca/configuration", {}, "operator:write"),
        ("GET", "/v1/kv/a/b", {}, "key:read on 'a/b'"),
        ("PUT", "/v1/session/create", {}, "session:write"),
        ("GET", "/v1/who-knows", {}, ""),
    ],
)
def test_the_missing_right_is_named(method, path, said, expected):
    """The right, and on what, follow from the request."""
    assert expected == right_for(method, path, body=said)


def test_health_needs_nodes_too():
    """Without node:read the health endpoints answer an empty list: the right is named."""
    assert "node:read" in right_for("GET", "/v1/health/connect/web")
    assert "node:read" in right_for("GET", "/v1/catalog/nodes")
