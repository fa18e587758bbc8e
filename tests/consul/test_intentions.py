"""Intentions of a real Consul: the same answers, followed at once, written as documents."""

from __future__ import annotations

import random
import threading

import pytest

from meshlib.control.consul.faults import NotAllowed
from meshlib.control.consul.intentions import LIST, ConsulIntentions, _Matching, intention_set
from meshlib.control.consul.rules import IntentionDocuments
from meshlib.control.registry import Document
from meshlib.errors import ConfigError
from meshlib.trust.permission import Request

ANY = Request("GET", "/")
PATIENCE = 20.0
SOURCES = ("api", "web", "db", "other")
KIND = "service-intentions"


def now(client, service):
    """The set as it is."""
    return intention_set(service, _Matching(client, service).wait(LIST, index=0).body)


def by_consul(client, source, destination) -> tuple[bool, bool]:
    """What its two endpoints for this question say."""
    checked = client.get("/v1/connect/intentions/check", source=source, destination=destination)
    uri = f"spiffe://11111111-2222-3333-4444-555555555555.consul/ns/default/dc/dc1/svc/{source}"
    asked = {"Target": destination, "ClientCertURI": uri, "ClientCertSerial": "1"}
    authorized = client.post("/v1/agent/connect/authorize", asked)
    return checked.body["Allowed"], authorized.body["Authorized"]


def document(name, *sources, version=0):
    body = {"Sources": [{"Name": each, "Action": action} for each, action in sources]}
    return Document(KIND, name, body, version)


def test_the_same_answers_as_consul(own_agent):
    """Hundreds of random decisions, wildcards on either side included."""
    rng = random.Random(5)
    asked = 0
    with own_agent.client() as client:
        documents = IntentionDocuments(client)
        for _ in range(8):
            for name in ("web", "db", "*"):
                rules = [
                    (source, rng.choice(["allow", "deny"]))
                    for source in ("api", "web", "*")
                    if rng.random() < 0.4
                ]
                documents.put(document(name, *rules))
            for destination in ("web", "db", "else"):
                ours = now(client, destination)
                for source in SOURCES:
                    decision = ours.decide(source, ANY)
                    expected = decision.allowed, decision.allowed
                    assert expected == by_consul(client, source, destination), decision
                    asked += 2
    assert 192 == asked


def test_the_same_answers_where_the_default_is_to_deny(acl_agent, name):
    """The default comes with them; a service token may read what concerns its service."""
    own, other = f"{name}-web", f"{name}-api"
    with (
        acl_agent.client(acl_agent.master) as master,
        acl_agent.client(acl_agent.token_for(own)) as client,
    ):
        documents = IntentionDocuments(master)
        for rules in ((), ((other, "allow"),), (("*", "allow"), (other, "deny")), (("*", "deny"),)):
            documents.put(document(own, *rules))
            ours = now(client, own)
            for source in (other, "nobody"):
                allowed = ours.decide(source, ANY).allowed
                assert (allowed, allowed) == by_consul(client, source, own), (rules, source)
            assert not ours.decide("", ANY).allowed


class Seen:
    """Waits for a decision of a watch."""

    def __init__(self, watch):
        self.watch, self.changed, self.told = watch, threading.Condition(), 0
        watch.subscribe(self.tell)

    def tell(self):
        with self.changed:
            self.told += 1
            self.changed.notify_all()

    def until(self, source, *, allowed):
        """Wait for it; fails if it does not come."""
        with self.changed:
            assert self.changed.wait_for(
                lambda: (
                    self.watch.ready and allowed == self.watch.value.decide(source, ANY).allowed
                ),
                PATIENCE,
            )


@pytest.fixture
def followed(client):
    """Intentions of the shared agent, followed until the end of the test."""
    intentions = ConsulIntentions(client)
    yield intentions
    intentions.close()


def test_every_write_arrives(client, followed, name):
    """Create, change and delete; before the first answer nobody is let in."""
    documents, seen = IntentionDocuments(client), Seen(followed.intentions(name))
    seen.until("api", allowed=True)
    for rules, allowed in (
        ([("api", "deny")], False),
        ([("api", "allow"), ("*", "deny")], True),
        ([("*", "deny")], False),
        ([], True),
    ):
        documents.put(document(name, *rules))
        seen.until("api", allowed=allowed)
    assert followed.intentions(name) is seen.watch


def test_what_concerns_others_wakes_nobody(client, followed, name):
    """Consul wakes for every intention; an equal set is not told again."""
    documents, seen = IntentionDocuments(client), Seen(followed.intentions(name))
    documents.put(document(name, ("api", "deny")))
    seen.until("api", allowed=False)
    told = seen.told
    documents.put(document(f"{name}-other", ("api", "deny")))
    documents.put(document(name))
    seen.until("api", allowed=True)
    assert told + 1 == seen.told


def test_who_may_not_read_lets_nobody_in(acl_agent, name):
    """Where the list would be empty, which means allow, `/match` says that a right is missing."""
    with acl_agent.client() as client:
        assert [] == client.get(LIST).body
        with pytest.raises(NotAllowed, match="intentions:read"):
            now(client, name)


def test_documents_on_a_consul_without_config_entries(client, name):
    """Written one by one, read as one; what is not said any more goes."""
    documents = IntentionDocuments(client)
    assert documents.get(name) is None
    assert documents.put(document(name, ("api", "allow"), ("*", "deny")), cas=True)
    stored = documents.get(name)
    assert [("api", "allow"), ("*", "deny")] == pairs(stored)
    assert documents.put(document(name, ("api", "deny"), version=stored.version), cas=True)
    assert [("api", "deny")] == pairs(documents.get(name))
    assert (True, False) == (documents.delete(name), documents.delete(name))
    assert documents.get(name) is None


def test_who_was_slower_hears_of_it(client, name):
    """Compare-and-set, as far as this Consul has it."""
    documents = IntentionDocuments(client)
    assert documents.put(document(name, ("api", "allow")), cas=True)
    stored = documents.get(name)
    assert not documents.put(document(name, ("api", "deny")), cas=True)
    assert documents.put(document(name, ("api", "deny")))
    assert not documents.put(document(name, version=stored.version), cas=True)
    assert [("api", "deny")] == pairs(documents.get(name))


def test_permissions_are_refused_where_consul_has_none(client, name):
    """Before anything is written."""
    permission = {"Action": "allow", "HTTP": {"PathExact": "/"}}
    body = {"Sources": [{"Name": "api", "Permissions": [permission]}]}
    with pytest.raises(ConfigError, match="Permissions") as refused:
        IntentionDocuments(client).put(Document(KIND, name, body))
    assert "Consul 1.9" in refused.value.hint
    assert IntentionDocuments(client).get(name) is None


def pairs(stored):
    return [(each["Name"], each["Action"]) for each in stored.body["Sources"]]
