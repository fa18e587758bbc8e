"""Intentions as documents say them, and as a service asks them."""

from __future__ import annotations

import pytest

from meshlib.control.authorization import DocumentIntentions, intention_set
from meshlib.control.documents import validate
from meshlib.control.intentions import decode_intentions
from meshlib.control.registry import Document
from meshlib.errors import ConfigError
from meshlib.trust.intention import IntentionSet
from meshlib.trust.permission import Request
from meshlib.watch import Watch

READ = {"Action": "allow", "HTTP": {"PathPrefix": "/items/", "Methods": ["GET"]}}


def document(*sources, name="backend", **more):
    return Document("service-intentions", name, {"Sources": list(sources), **more})


def asked(found: IntentionSet, source: str, method="GET", path="/", **headers) -> bool:
    return found.decide(source, Request(method, path, headers.get)).allowed


def refusal(*sources, name="backend", **more) -> ConfigError:
    with pytest.raises(ConfigError) as refused:
        validate(document(*sources, name=name, **more))
    return refused.value


def test_the_documents_of_the_service_and_of_all_make_one_set():
    """Each by its precedence; those of other services take no part."""
    found = intention_set(
        "backend",
        (
            document({"Name": "frontend", "Action": "allow"}),
            document({"Name": "*", "Action": "deny"}, name="*"),
            document({"Name": "*", "Action": "allow"}, name="elsewhere"),
        ),
    )
    assert (True, False) == (asked(found, "frontend"), asked(found, "reports"))


def test_permissions_are_read():
    """Path, method and every kind of header."""
    header = [
        {"Name": "X-Tier", "Prefix": "GO", "IgnoreCase": True},
        {"Name": "x-debug", "Present": True, "Invert": True},
    ]
    http = {"PathRegex": "/items/[0-9]+", "Header": header, "Methods": ["GET", "HEAD"]}
    entry = {"Name": "reports", "Permissions": [{"Action": "allow", "HTTP": http}]}
    found = intention_set("backend", (document(entry),), "deny")
    fine = {"method": "HEAD", "path": "/items/7", "x-tier": "gold"}
    assert asked(found, "reports", **fine)
    for change in ({"method": "PUT"}, {"path": "/items/x"}, {"x-tier": "tin"}, {"x-debug": ""}):
        assert not asked(found, "reports", **{**fine, **change}), change


def test_a_path_is_compared_decoded():
    """However the document spells it."""
    for spelled in ("/a b", "/a%20b"):
        permission = {"Action": "allow", "HTTP": {"PathExact": spelled}}
        found = intention_set(
            "backend", (document({"Name": "api", "Permissions": [permission]}),), "deny"
        )
        assert asked(found, "api", path="/a b")


def test_what_consul_writes_beside_is_accepted():
    """Precedence, type, description, the default namespace and partition."""
    more = {"Precedence": 9, "Type": "consul", "Description": "why", "Namespace": "default"}
    validate(document({"Name": "api", "Action": "allow", "Partition": "default", **more}))


@pytest.mark.parametrize(
    ("source", "path", "value"),
    [
        ({"Name": "", "Action": "allow"}, "Sources[0].Name", ""),
        ({"Name": "fro*", "Action": "allow"}, "Sources[0].Name", "fro*"),
        ({"Name": "spiffe://a.b", "Action": "allow"}, "Sources[0].Name", "spiffe://a.b"),
        ({"Name": "api"}, "Sources[0].Action", None),
        ({"Name": "api", "Action": "alow"}, "Sources[0].Action", "alow"),
        ({"Name": "api", "Action": "allow", "Permissions": [READ]}, "Sources[0].Action", "allow"),
        ({"Name": "api", "Action": "allow", "Namespace": "team"}, "Sources[0].Namespace", "team"),
        ({"Name": "api", "Action": "allow", "Partition": "p"}, "Sources[0].Partition", "p"),
        ({"Name": "api", "Action": "allow", "Peer": "cloud"}, "Sources[0].Peer", "cloud"),
        ({"Name": "api", "Action": "deny", "SamenessGroup": "g"}, "Sources[0].SamenessGroup", "g"),
        ({"Name": "api", "Action": "deny", "Type": "vault"}, "Sources[0].Type", "vault"),
        ({"Name": "api", "Action": "deny", "Colour": 1}, "Sources[0].Colour", 1),
    ],
)
def test_a_source_that_cannot_be_honoured_is_refused(source, path, value):
    """With the path of the field and what stands there: nothing is left out of account."""
    refused = refusal(source)
    assert (f"service-intentions/backend.{path}", value) == (refused.path, refused.value)


@pytest.mark.parametrize(
    ("permission", "path"),
    [
        ({"Action": "allow"}, "HTTP"),
        ({"Action": "allow", "HTTP": {}}, "HTTP"),
        ({"HTTP": {"PathPrefix": "/"}}, "Action"),
        ({"Action": "allow", "HTTP": {"PathExact": "a"}}, "HTTP.PathExact"),
        ({"Action": "allow", "HTTP": {"PathExact": "/a", "PathPrefix": "/a"}}, "HTTP"),
        ({"Action": "allow", "HTTP": {"PathRegex": "("}}, "HTTP.PathRegex"),
        ({"Action": "allow", "HTTP": {"Methods": ["get"]}}, "HTTP.Methods[0]"),
        ({"Action": "allow", "HTTP": {"Header": [{"Name": "x"}]}}, "HTTP.Header[0]"),
        ({"Action": "deny", "HTTP": {"PathExact": "/a", "QueryParam": []}}, "HTTP.QueryParam"),
    ],
)
def test_a_permission_that_cannot_be_honoured_is_refused(permission, path):
    """With the path of the field."""
    refused = refusal({"Name": "api", "Permissions": [permission]})
    assert f"service-intentions/backend.Sources[0].Permissions[0].{path}" == refused.path


def test_every_source_is_named_once():
    """Of two rules about one caller it would not be clear which one counts."""
    twice = {"Name": "api", "Action": "allow"}, {"Name": "api", "Action": "deny"}
    assert "service-intentions/backend.Sources[1].Name" == refusal(*twice).path


def test_rules_for_all_services_know_no_requests():
    """Consul's rule, in a document and in a list."""
    source = {"Name": "api", "Permissions": [READ]}
    assert "service-intentions/*.Sources[0].Permissions" == refusal(source, name="*").path
    with pytest.raises(ConfigError):
        decode_intentions("*", {"Sources": [source]}, path="match")


def test_tokens_are_asked_for():
    """By a permission, and by the whole document: both have to be content."""
    jwt = {"Providers": [{"Name": "okta", "VerifyClaims": [{"Path": ["role"], "Value": "a"}]}]}
    source = {"Name": "api", "Permissions": [{**READ, "JWT": jwt}]}
    found = intention_set("backend", (document(source, JWT={"Providers": [{"Name": "corp"}]}),))
    request = Request("GET", "/items/1", claims={"okta": {"role": "a"}})
    assert not found.decide("api", request).allowed
    assert found.decide("api", request._replace(claims={**request.claims, "corp": {}})).allowed
    (read,) = decode_intentions("backend", {"Sources": [source]}, path="match")
    assert read.permissions[0].token.passes({"okta": {"role": "a"}})


class Documents:
    """A source whose documents the test sets."""

    def __init__(self, *, ready: bool = True) -> None:
        self.watches = {name: Watch((), ready=ready) for name in ("backend", "*")}

    def __getitem__(self, name: str) -> Watch:
        return self.watches[name]


def test_the_watch_follows_both_documents():
    """A rule for the service, and one for all, each takes effect at once."""
    source = Documents()
    watch = DocumentIntentions(source.watches.__getitem__, "allow").intentions("backend")
    assert asked(watch.value, "api")
    source["*"].set((document({"Name": "*", "Action": "deny"}, name="*"),))
    assert not asked(watch.value, "api")
    source["backend"].set((document({"Name": "api", "Action": "allow"}),))
    assert asked(watch.value, "api")


def test_the_default_may_be_to_deny():
    """Then only those are let in whom an intention names."""
    source = Documents()
    watch = DocumentIntentions(source.watches.__getitem__, "deny").intentions("backend")
    assert (True, False) == (watch.ready, asked(watch.value, "api"))


def test_until_both_were_read_nobody_is_let_in():
    """One of them alone could say the opposite of what both say."""
    source = Documents(ready=False)
    plane = DocumentIntentions(source.watches.__getitem__, "allow")
    watch = plane.intentions("backend")
    source["backend"].set((document({"Name": "api", "Action": "allow"}),))
    assert (False, False) == (watch.ready, asked(watch.value, "api"))
    source["*"].set(())
    assert (True, True) == (watch.ready, asked(watch.value, "api"))
    assert watch is plane.intentions("backend")


def test_a_document_that_cannot_be_used_changes_nothing(caplog):
    """The last good set stays, and it is logged; without one nobody is let in."""
    source = Documents()
    watch = DocumentIntentions(source.watches.__getitem__, "allow").intentions("backend")
    source["backend"].set((document({"Name": "api", "Action": "deny"}),))
    source["backend"].set((document({"Name": "api", "Action": "perhaps"}),))
    assert not asked(watch.value, "api")
    assert "perhaps" in caplog.text
    fresh = DocumentIntentions(source.watches.__getitem__, "allow").intentions("backend")
    assert (False, False) == (fresh.ready, asked(fresh.value, "other"))
