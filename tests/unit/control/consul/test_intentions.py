"""Intentions as newer Consuls say them, from what their documentation and source show."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from meshlib.control.consul.address import ConsulAddress
from meshlib.control.consul.http import ConsulClient
from meshlib.control.consul.intentions import LIST, _Matching, about, intention_set
from meshlib.control.consul.rules import IntentionDocuments
from meshlib.control.registry import Document
from meshlib.errors import ConfigError
from meshlib.trust.permission import Request

ANY = Request("GET", "/")


def item(source="api", action="allow", destination="web", **more):
    """An intention as `/match` returns it since 1.9."""
    return {
        "Description": "",
        "SourceNS": "default",
        "SourceName": source,
        "DestinationNS": "default",
        "DestinationName": destination,
        "SourceType": "consul",
        "Action": action,
        "Meta": None,
        "Precedence": 9,
        "CreatedAt": "2021-01-01T00:00:00Z",
        "UpdatedAt": "2021-01-01T00:00:00Z",
        "CreateIndex": 7,
        "ModifyIndex": 7,
        **more,
    }


def made(*items, allow=True, **more):
    return intention_set("web", {"Match": list(items), "Allow": allow}, **more)


def test_permissions():
    """With all that Consul 1.20 knows of headers, and nulls for what is empty."""
    header = [{"Name": "X-Tier", "Contains": "old", "IgnoreCase": True}]
    permission = {
        "Action": "allow",
        "HTTP": {"PathPrefix": "/v1/", "Methods": ["GET"], "Header": header},
        "JWT": None,
    }
    found = made(item(action="", Permissions=[permission]), allow=False)
    gold = Request("GET", "/v1/a", {"x-tier": "GOLD"}.get)
    assert found.decide("api", gold).allowed
    assert not found.decide("api", gold._replace(path="/v2/a")).allowed


@pytest.mark.parametrize("where", ["permission", "intention"])
def test_tokens(where):
    """Without a verified token nobody is let in where one is asked for."""
    jwt = {"Providers": [{"Name": "okta", "VerifyClaims": [{"Path": ["role"], "Value": "a"}]}]}
    permission = {"Action": "allow", "HTTP": {"PathPrefix": "/"}}
    if where == "permission":
        found = made(item(action="", Permissions=[{**permission, "JWT": jwt}]))
    else:
        found = made(item(JWT=jwt))
    assert not found.decide("api", ANY).allowed
    assert found.decide("api", ANY._replace(claims={"okta": {"role": "a"}})).allowed


@pytest.mark.parametrize(
    "foreign", [{"SourceNS": "team"}, {"SourcePartition": "p"}, {"SourcePeer": "cloud"}]
)
def test_rules_about_callers_elsewhere(foreign):
    """They are of no service of ours, and no such caller is let in while there are any."""
    found = made(item(action="deny", **foreign))
    assert found.decide("api", ANY).allowed
    assert not found.decide("", ANY).allowed
    assert made().decide("", ANY).allowed


@pytest.mark.parametrize(
    "unknown",
    [
        {"SourceSamenessGroup": "all"},
        {"SourceType": "vault"},
        {"Action": "perhaps"},
        {"Action": ""},
        {"SourceName": ""},
        {"Permissions": [{"Action": "allow", "HTTP": {"PathPrefix": "/", "Host": "x"}}]},
    ],
)
def test_what_is_not_understood_is_refused(unknown):
    """Not left out: the rest may say the opposite."""
    with pytest.raises(ConfigError):
        made(item("other"), item(**unknown))


def test_the_default_can_only_be_made_stricter():
    """By this service's settings."""
    assert not made(default="deny").decide("api", ANY).allowed
    assert not made(allow=False, default="allow").decide("api", ANY).allowed


def test_the_filter_quotes():
    """A name cannot end the string it stands in."""
    assert 'DestinationName == "a\\"b" or DestinationName == "*"' == about('a"b')


class Newer(BaseHTTPRequestHandler):
    """The few endpoints of a Consul with config entries that are asked here."""

    entries: dict
    index = 7

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path.startswith("/v1/config/"):
            entry = self.entries.get(path.rpartition("/")[2])
            self.answer(entry, 200 if entry else 404)
        elif path.endswith("/match"):
            self.answer({"web": [item("*", "deny")]}, policy="allow")
        else:
            self.answer([])

    def do_PUT(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        standing = self.entries.get(body["Name"], {"ModifyIndex": 0})
        if "cas=" in self.path and f"cas={standing['ModifyIndex']}" not in self.path:
            self.answer(False)
            return
        type(self).index += 1
        added = {"CreateIndex": 7, "ModifyIndex": self.index, "Namespace": "default"}
        sources = [{**each, "Precedence": 9, "LegacyID": ""} for each in body["Sources"]]
        self.entries[body["Name"]] = {**body, **added, "Sources": sources, "Meta": None}
        self.answer(True)

    def do_DELETE(self):
        self.entries.pop(self.path.rpartition("/")[2], None)
        self.answer({})

    def answer(self, body, status=200, policy=""):
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.send_header("x-consul-index", str(self.index))
        if policy:
            self.send_header("x-consul-default-acl-policy", policy)
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture
def newer():
    """A client of one."""
    handler = type("Handler", (Newer,), {"entries": {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        client = ConsulClient(ConsulAddress("http", "127.0.0.1", server.server_port))
        yield client
        client.close()
        server.shutdown()
        thread.join()


def test_documents_are_config_entries(newer):
    """As they were written, with Consul's own compare-and-set; permissions included."""
    documents = IntentionDocuments(newer)
    permission = {"Action": "allow", "HTTP": {"PathExact": "/"}}
    body = {"Sources": [{"Name": "api", "Permissions": [permission]}]}
    assert documents.get("web") is None
    assert documents.put(Document("service-intentions", "web", body), cas=True)
    stored = documents.get("web")
    assert {"Kind": "service-intentions", "Name": "web", **body} == stored.body
    assert not documents.put(Document("service-intentions", "web", body, 3), cas=True)
    assert documents.put(Document("service-intentions", "web", body, stored.version), cas=True)
    assert (True, False) == (documents.delete("web"), documents.delete("web"))


def test_the_default_is_read_where_an_intention_is_for_everybody(newer):
    """`/check` would answer with that intention."""
    said = _Matching(newer, "web").wait(LIST, index=0)
    assert (True, 7) == (said.body["Allow"], said.index)
