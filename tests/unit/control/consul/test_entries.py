from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.control.consul.entries import FOLDER, ConfigEntries, entry_of, plain, policy_of
from meshlib.control.consul.faults import Asked, ConsulFault, NotThere, fault_of
from meshlib.control.consul.http import Answer
from meshlib.control.documents import NotHttp
from meshlib.control.registry import Document
from meshlib.errors import ConfigError

RESOLVER = {
    "Kind": "service-resolver",
    "Name": "web",
    "DefaultSubset": "v1",
    "Subsets": {"v1": {"Filter": "Service.Meta.version == v1"}},
    "Failover": {"*": {"Datacenters": ["dc2"]}},
}
ADDED = {
    "ConnectTimeout": "",
    "Redirect": None,
    "Meta": {},
    "Namespace": "default",
    "Partition": "default",
    "Hash": 15423987,
    "CreateIndex": 20,
    "ModifyIndex": 25,
}
"""What one Consul or another adds."""


def test_what_consul_adds_is_taken_away():
    """An entry reads as it was written, and its version is the index of the last write."""
    assert Document("service-resolver", "web", RESOLVER, 25) == entry_of(
        "service-resolver", "web", {**RESOLVER, **ADDED}
    )


def test_what_says_something_stays():
    """False and zero may be somebody's wish; another namespace is one."""
    body = {"Namespace": "other", "Weight": 0, "OnlyPassing": False}
    assert body == plain(body)


def pair(value, *, key="web"):
    encoded = None if value is None else base64.b64encode(value).decode()
    return {"Key": f"{FOLDER}{key}", "Value": encoded, "Flags": 0, "ModifyIndex": 7}


def test_a_policy_in_the_key_value_store():
    """The key is its name; names may have slashes for all we care."""
    assert Document("traffic-policy", "web", {"Timeout": "3s"}, 7) == policy_of(
        pair(b'{"Timeout": "3s"}')
    )
    assert "a/b" == policy_of(pair(b"{}", key="a/b")).name


@pytest.mark.parametrize("value", [b"{nonsense", b"[]", b"5", b"\xff", b"", None])
def test_a_policy_that_is_no_object_is_refused(value):
    """By its name."""
    with pytest.raises(ConfigError) as refused:
        policy_of(pair(value))
    assert "traffic-policy/web" == refused.value.path


@given(st.binary(max_size=30))
def test_no_value_breaks_it(value):
    """It is a policy or refused."""
    try:
        assert "web" == policy_of(pair(value)).name
    except ConfigError:
        return


class Server:
    """A Consul that answers all writes with one status and text."""

    def __init__(self, status=200, text=""):
        self.status, self.text, self.asked = status, text, []

    def put(self, path, body, **params):
        self.asked.append((path, body, params))
        return self.answer("PUT", path)

    def delete(self, path, **params):
        self.asked.append((path, None, params))
        return self.answer("DELETE", path)

    def get(self, path):
        raise NotThere(path, status=404)

    def answer(self, method, path):
        if self.status != 200:
            raise fault_of(Asked(method, path), self.status, self.text)
        return Answer(200, self.text != "false", 0, {})


def put(server, *, cas=False, version=0):
    document = Document("service-splitter", "web", {"Splits": [{"Weight": 100}]}, version)
    return ConfigEntries(server).put(document, cas=cas)


def test_compare_and_set_is_by_the_index():
    """Zero, too, is sent: not there yet."""
    server = Server()
    assert put(server, cas=True)
    assert put(server, cas=True, version=25)
    assert put(server)
    body = {"Kind": "service-splitter", "Name": "web", "Splits": [{"Weight": 100}]}
    sent = [("/v1/config", body, {"cas": version}) for version in ("0", "25", False)]
    assert sent == server.asked


def test_who_was_slower_hears_of_it():
    """Consul says false."""
    assert not put(Server(text="false"), cas=True)


ADVANCED = 'service "web" has protocol "tcp", which does not permit advanced routing or splitting'
MIXED = 'discovery chain "web" uses inconsistent protocols; service "b" has "tcp"'


@pytest.mark.parametrize("words", [ADVANCED, f"rpc error making call: {MIXED}"])
def test_what_is_not_known_to_be_http(words):
    """Consul's words, and the entry to write first."""
    with pytest.raises(NotHttp) as refused:
        put(Server(500, words))
    assert "service-defaults/web" in refused.value.hint
    assert words in refused.value.why


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (500, 'service "web" does not have a subset named "x"'),
        (500, "rpc error making call: weights must sum to 100"),
        (400, "Request decode failed: invalid config key LoadBalancer"),
    ],
)
def test_what_consul_has_against_an_entry(status, words):
    """Is told like what we have against one."""
    with pytest.raises(ConfigError) as refused:
        put(Server(status, words))
    assert ("service-splitter/web", True) == (refused.value.path, words in refused.value.why)
    assert (status == 400) == ("younger" in refused.value.hint)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (500, "No cluster leader"),
        (500, "rpc error making call: EOF"),
        (500, "rpc error getting client: failed to get conn: dial tcp: connection refused"),
        (500, "No path to datacenter"),
        (429, "rate limit reached"),
        (403, "Permission denied"),
    ],
)
def test_a_server_that_cannot_write_is_no_fault_of_the_entry(status, words):
    """It may be written later, or by somebody else."""
    with pytest.raises(ConsulFault):
        put(Server(status, words))


def test_what_is_not_there_cannot_be_removed():
    """And Consul, which would not say so, is not asked."""
    server = Server()
    assert not ConfigEntries(server).delete("service-splitter", "web")
    assert [] == server.asked
