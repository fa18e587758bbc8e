"""Which context a target gets: one an identity to expect, so that no two share connections."""

from __future__ import annotations

import ssl
import time

import pytest

from meshlib.adapters.trust import ClientTrust
from meshlib.errors import ConfigError
from meshlib.model import Target
from meshlib.testing.ca import ThrowawayCA
from meshlib.trust.spiffe import neighbour, parse, server_name
from meshlib.watch import Watch

CA = ThrowawayCA(now=time.time())


class Peers:
    """What Consul would say, or with `names` off what the embedded plane says."""

    oldest_tls = ssl.TLSVersion.TLSv1_2

    def __init__(self, names=True):
        self.names = names
        self.own = parse(CA.id_of("web"))

    def spiffe_id(self, service, datacenter=""):
        return str(neighbour(self.own, service, datacenter))

    def server_name(self, service, subset="", datacenter=""):
        if not self.names:
            return ""
        return server_name(neighbour(self.own, service, datacenter), subset)


@pytest.fixture
def credentials():
    return Watch(CA.credentials("web"), ready=True)


def test_other_identities_have_other_contexts(credentials):
    """A service, a datacentre and, where it is asked for, a subset: each has its own."""
    trust = ClientTrust(credentials, Peers())
    targets = [
        Target("db"),
        Target("db", "v1"),
        Target("db", datacenter="dc2"),
        Target("cache"),
    ]
    assert 4 == len({trust(each)[0] for each in targets})
    assert trust(Target("db", "v1"))[0] is trust(Target("db", "v1"))[0]


def test_subsets_share_where_nobody_asks_by_name(credentials):
    """They have one identity; a connection to an endpoint serves either."""
    trust = ClientTrust(credentials, Peers(names=False))
    assert trust(Target("db"))[0] is trust(Target("db", "v1"))[0]
    assert trust(Target("db"))[0] is not trust(Target("db", datacenter="dc2"))[0]


def test_the_whole_id_is_expected(credentials):
    """Trust domain, datacentre and service."""
    context, _ = ClientTrust(credentials, Peers())(Target("db", datacenter="dc2"))
    expected = context._authorize
    assert expected(parse("spiffe://example.org/ns/default/dc/dc2/svc/db"))
    for other in (
        "spiffe://example.org/ns/default/dc/local/svc/db",
        "spiffe://example.com/ns/default/dc/dc2/svc/db",
        "spiffe://example.org/ns/default/dc/dc2/svc/DB",
        "spiffe://example.org/ns/other/dc/dc2/svc/db",
    ):
        assert not expected(parse(other))


def test_a_mesh_that_was_rebuilt(credentials):
    """With another trust domain the same context expects other ids."""
    peers = Peers()
    context, _ = ClientTrust(credentials, peers)(Target("db"))
    peers.own = parse("spiffe://rebuilt.org/ns/default/dc/local/svc/web")
    assert context._authorize(parse("spiffe://rebuilt.org/ns/default/dc/local/svc/db"))
    assert not context._authorize(parse(CA.id_of("db")))


def test_the_floor_is_the_planes(credentials):
    """The least TLS is what the control plane says of its peers."""
    context, _ = ClientTrust(credentials, Peers())(Target("db"))
    assert ssl.TLSVersion.TLSv1_2 == context._inner().minimum_version


def test_the_generation_is_that_of_the_credentials(credentials):
    """Pools are kept by it."""
    trust = ClientTrust(credentials, Peers())
    assert 1 == trust(Target("db"))[1]
    credentials.set(CA.credentials("web", generation=2))
    assert 2 == trust(Target("db"))[1]


def test_a_name_that_cannot_be(credentials):
    """It is refused before anything is connected."""
    with pytest.raises(ConfigError):
        ClientTrust(credentials, Peers())(Target("a/b"))


def test_a_setting_says_who_is_expected(credentials):
    """It stands before what the peers say, for every subset and datacentre; empty says nothing."""
    said = Watch("", ready=True)
    trust = ClientTrust(credentials, Peers(), said=lambda _: said)
    ours = trust(Target("db"))[0]
    said.set("spiffe://partner.org/ns/default/dc/east/svc/db")
    theirs = trust(Target("db"))[0]
    assert ours is not theirs
    assert theirs is trust(Target("db"))[0]
    said.set("")
    assert ours is trust(Target("db"))[0]


def test_a_setting_that_is_no_id(credentials):
    """It is told when it is used, as code may say anything."""
    trust = ClientTrust(credentials, Peers(), said=lambda _: Watch("db", ready=True))
    with pytest.raises(ConfigError, match="spiffe://"):
        trust(Target("db"))
