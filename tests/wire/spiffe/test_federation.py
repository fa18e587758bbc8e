"""Two trust domains with roots of their own: who is let in, and as whom."""

from __future__ import annotations

import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from meshlib.config import ServingConfig
from meshlib.control.spiffe.messages import SvidResponse
from meshlib.observe.events import Inbound
from meshlib.observe.quiet import Quiet
from meshlib.serve.admission import Connection
from meshlib.serve.authorize import DENIED, Authorization
from meshlib.testing.ca import ThrowawayCA
from meshlib.testing.workload_api import response
from meshlib.trust.bundle import Credentials
from meshlib.trust.intention import Intention, IntentionSet
from meshlib.trust.spiffe import parse
from meshlib.trust.tls import MeshContext, PeerRejected, peer_of
from meshlib.trust.verify import Peer, allow_ids, fellows_of
from meshlib.watch import Watch

PATIENCE = 20.0


@pytest.fixture
def web(api, source, ca, partner):
    """Our web, federated with the partner, over the Workload API."""
    api.say(response(ca, "web", trust=[partner]))
    return source().credentials("web")


def shown(ca, trust, **leaf):
    """What a peer shows that trusts `trust`; it is not about what *it* would refuse."""
    return Watch(ca.credentials("frontend", trust=trust, **leaf), ready=True)


def met(credentials, peer, expected):
    """Who `credentials` see at the other end, as a server; PeerRejected or SSLError if nobody."""
    server = MeshContext(
        credentials, server_side=True, authorize=fellows_of(credentials), clock=time.time
    )
    client = MeshContext(peer, server_side=False, authorize=allow_ids(expected), clock=time.time)
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE)
    theirs.settimeout(PATIENCE)
    with ours, theirs, ThreadPoolExecutor(1) as pool:
        calling = pool.submit(_call, client, theirs)
        try:
            with server.wrap_socket(ours, server_side=True) as connection:
                return peer_of(connection)
        finally:
            ours.close()
            calling.exception(PATIENCE)


def _call(context, sock):
    with context.wrap_socket(sock) as connection:
        connection.recv(1)


def test_a_member_is_met_as_a_member_of_its_own_domain(web, ca, partner):
    """Its own roots vouch for it, and its id says where it is from."""
    peer = met(web, shown(partner, [ca]), ca.id_of("web"))
    assert partner.id_of("frontend") == str(peer.spiffe_id)
    assert peer.anchor in partner.bundle.roots


def test_a_member_has_no_name_of_ours(web, ca, partner):
    """Limits, metrics and the application must not take a partner's frontend for our own."""
    stranger, ours = (met(web, shown(each, [ca]), ca.id_of("web")) for each in (partner, ca))
    assert ("", "frontend") == (stranger.identity.service, ours.identity.service)


def test_our_own_are_let_in_as_before(web, ca, partner):
    """Federation takes nothing away."""
    peer = met(web, shown(ca, []), ca.id_of("web"))
    assert ca.id_of("frontend") == str(peer.spiffe_id)


def test_a_federated_root_claims_our_domain(web, ca, partner):
    """What it says of others than its own members is worth nothing."""
    liar = shown(partner, [ca], uris=(ca.id_of("frontend"),))
    with pytest.raises(PeerRejected, match=r"a root that is not of 'example\.org'"):
        met(web, liar, ca.id_of("web"))


def test_our_root_claims_a_federated_domain(web, ca, partner):
    """We cannot vouch for members of another domain either."""
    liar = shown(ca, [], uris=(partner.id_of("frontend"),))
    with pytest.raises(PeerRejected, match=r"a root that is not of 'partner\.org'"):
        met(web, liar, ca.id_of("web"))


def test_two_federated_domains(api, source, ca, partner):
    """One cannot speak for the other."""
    third = ThrowawayCA("third.org", now=time.time())
    api.say(response(ca, "web", trust=[partner, third]))
    liar = shown(third, [ca], uris=(partner.id_of("frontend"),))
    with pytest.raises(PeerRejected, match=r"a root that is not of 'partner\.org'"):
        met(source().credentials("web"), liar, ca.id_of("web"))


def test_a_stranger(web, ca):
    """Nobody of a domain without a bundle is let in."""
    foreign = ThrowawayCA("foreign.org", now=time.time())
    with pytest.raises(ssl.SSLError):
        met(web, shown(foreign, [ca]), ca.id_of("web"))


def test_a_domain_that_was_taken_away(api, web, ca, partner, until):
    """Is a stranger from then on, on connections that stand as well."""
    peer = met(web, shown(partner, [ca]), ca.id_of("web"))
    assert peer.still_trusted(web.value, time.time())
    api.say(response(ca, "web"))
    until(web, lambda it: partner.trust_domain not in it.bundles)
    assert not peer.still_trusted(web.value, time.time())
    with pytest.raises(ssl.SSLError):
        met(web, shown(partner, [ca]), ca.id_of("web"))


def test_a_bundle_that_claims_our_domain(api, source, ca, ear):
    """A federated bundle in our name is left out, and told of."""
    impostor = ThrowawayCA(ca.trust_domain, now=time.time())
    api.say(response(ca, "web", trust=[impostor]))
    assert {ca.trust_domain: ca.bundle} == source().credentials("web").value.bundles
    assert "claims the trust domain of this process" in ear.hears("roots-refused")


def test_a_bundle_that_cannot_be_read(api, source, ca, partner, ear):
    """Costs only its own domain."""
    good = response(ca, "web", trust=[partner])
    api.say(SvidResponse(good.svids, {**good.federated, "spiffe://broken.org": b"x"}))
    assert {ca.trust_domain, "partner.org"} == set(source().credentials("web").value.bundles)
    assert "broken.org" in ear.hears("roots-refused")


def test_only_those_that_were_named(api, source, ca, partner):
    """With `federates_with` the agent alone does not decide."""
    third = ThrowawayCA("third.org", now=time.time())
    api.say(response(ca, "web", trust=[partner, third]))
    bundles = source(federates_with=["third.org"]).credentials("web").value.bundles
    assert {ca.trust_domain, "third.org"} == set(bundles)


def test_calling_a_federated_service(api, source, ca, partner):
    """Its id is said by hand; all others are neighbours."""
    api.say(response(ca, "web", trust=[partner]))
    identity = source(ids={"billing": partner.id_of("invoices")})
    watch = identity.credentials("web")
    assert (partner.id_of("invoices"), ca.id_of("db")) == (
        identity.spiffe_id("billing"),
        identity.spiffe_id("db"),
    )
    there = Watch(partner.credentials("invoices", trust=[ca]), ready=True)
    assert ca.id_of("web") == str(met(there, watch, identity.spiffe_id("billing")).spiffe_id)


def answer(credentials: Watch[Credentials], spiffe_id: str, intentions: IntentionSet):
    """What the intentions of web say to a caller with that id."""
    listener = Quiet()
    authorization = Authorization(
        "web",
        Watch(intentions, ready=True),
        Watch(ServingConfig(), ready=True),
        credentials,
        listener,
    )
    peer = Peer(parse(spiffe_id), b"", 0.0)
    return authorization.refusal(
        Connection(peer), Inbound("GET", "/", {}, peer.identity, ("", 0)), lambda _: None
    )


def test_an_intention_by_name_is_about_our_own(web, ca, partner):
    """A partner's frontend is not our frontend."""
    rules = IntentionSet("web", (Intention("frontend", "web", allow=True),), allow=False)
    assert answer(web, ca.id_of("frontend"), rules) is None
    assert DENIED is answer(web, partner.id_of("frontend"), rules)


def test_strangers_need_both_the_rule_for_anybody_and_the_default(web, partner):
    """Everybody may call, and members of federated domains are part of everybody."""
    guest, anybody = partner.id_of("frontend"), (Intention("*", "web", allow=True),)
    assert answer(web, guest, IntentionSet("web", anybody, allow=True)) is None
    assert DENIED is answer(web, guest, IntentionSet("web", anybody, allow=False))
    closed = (Intention("*", "web"), Intention("frontend", "web", allow=True))
    assert DENIED is answer(web, guest, IntentionSet("web", closed, allow=True))


def test_a_stranger_that_an_intention_names(web, partner):
    """By its SPIFFE id it is let in, though nobody else of its domain is."""
    rules = (Intention(partner.id_of("frontend"), "web", allow=True),)
    closed = IntentionSet("web", rules, allow=False)
    assert answer(web, partner.id_of("frontend"), closed) is None
    assert DENIED is answer(web, partner.id_of("reports"), closed)
