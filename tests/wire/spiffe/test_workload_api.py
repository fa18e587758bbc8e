"""Identities over a Workload API that grpcio serves."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import grpc
import pytest

from meshlib.control.spiffe.messages import SvidResponse
from meshlib.errors import ConfigError, IdentityUnavailable
from meshlib.testing.workload_api import WorkloadApi, response
from meshlib.trust.tls import MeshContext
from meshlib.trust.verify import fellows_of

SHORT = 0.5
"""Seconds of patience where nothing will come."""


def test_first_credentials(api, source, ca, partner):
    """Leaf, key and all bundles are there when the call returns, and make a context."""
    api.say(response(ca, "web", trust=[partner]))
    watch = source().credentials("web")
    assert ca.id_of("web") == watch.value.leaf.spiffe_id
    expected = {ca.trust_domain: ca.bundle, partner.trust_domain: partner.bundle}
    assert expected == watch.value.bundles
    MeshContext(watch, server_side=True, authorize=fellows_of(watch), clock=time.time)


def test_rotation_is_pushed(api, source, ca, until):
    """A new answer on the same stream replaces the credentials, one generation on."""
    api.say(response(ca, "web"))
    watch = source().credentials("web")
    first = watch.value
    api.say(response(ca, "web"))
    second = until(watch, lambda it: it.leaf != first.leaf)
    assert (first.generation + 1, 1) == (second.generation, api.calls)


def test_a_domain_is_taken_away(api, source, ca, partner, until):
    """A federated domain that is not in the next answer is trusted no longer."""
    api.say(response(ca, "web", trust=[partner]))
    watch = source().credentials("web")
    api.say(response(ca, "web"))
    until(watch, lambda it: set(it.bundles) == {ca.trust_domain})


def test_restart_of_the_agent(api, source, ca, ear, until):
    """The last good credentials stay meanwhile, and the stream is found again."""
    api.say(response(ca, "web"))
    watch = source().credentials("web")
    first = watch.value
    api.stop()
    ear.hears("identity-trouble")
    assert first is watch.value
    api.say(response(ca, "web"))
    api.start()
    until(watch, lambda it: it.leaf != first.leaf)
    ear.hears("identity-restored")


def test_permission_denied(api, source):
    """Says that this process is not registered, and with what it would be found."""
    api.say(grpc.StatusCode.PERMISSION_DENIED)
    with pytest.raises(IdentityUnavailable) as caught:
        source(patience=SHORT).credentials("web")
    assert "knows no identity for this process: no identity issued" in caught.value.why
    assert "register it" in caught.value.hint


def test_registered_a_moment_later(api, source, ca):
    """Whoever is refused at first is let in as soon as the agent knows him."""
    api.say(grpc.StatusCode.PERMISSION_DENIED)
    identity = source(patience=20.0)
    identity._follower.start()
    assert api.await_calls(2)
    api.say(response(ca, "web"))
    assert ca.id_of("web") == identity.credentials("web").value.leaf.spiffe_id


def test_denied_later_on(api, source, ca, ear):
    """The credentials in use stay until their time is over."""
    api.say(response(ca, "web"))
    watch = source().credentials("web")
    api.say(grpc.StatusCode.PERMISSION_DENIED)
    ear.hears("identity-trouble")
    assert (ca.id_of("web"), "") == (watch.value.leaf.spiffe_id, watch.value.trouble)


def test_expired_for_want_of_a_new_one(api, source, ca, ear, until):
    """Credentials whose time is over say why there are no others."""
    api.say(response(ca, "web", until=100.0))
    clock = [ca.now]
    watch = source(now=lambda: clock[0]).credentials("web")
    clock[0] = ca.now + 101
    api.say(grpc.StatusCode.PERMISSION_DENIED)
    told = until(watch, lambda it: it.trouble)
    assert "knows no identity" in told.trouble
    assert "register it" in told.remedy
    assert "expired" in ear.hears("leaf-expired")


def _with(good, **change):
    return SvidResponse((replace(good.svids[0], **change),))


BAD = {
    "empty": (lambda good: SvidResponse(), "gave no identity"),
    "malformed message": (lambda good: b"\x0a\xff\xff", "unreadable"),
    "no certificate": (lambda good: _with(good, chain=b""), "no certificate"),
    "cut short": (lambda good: _with(good, chain=good.svids[0].chain[:-9]), "cut short"),
    "garbage": (lambda good: _with(good, chain=b"not a certificate"), "no certificate in DER"),
    "garbage in the bundle": (lambda good: _with(good, bundle=b"\x30\x01x"), "cannot be used"),
    "no bundle": (lambda good: _with(good, bundle=b""), "no root"),
    "no key": (lambda good: _with(good, key=b""), "cannot be used"),
    "another id": (lambda good: _with(good, spiffe_id="spiffe://example.org/x"), "is for"),
}


@pytest.mark.parametrize(("make", "why"), BAD.values(), ids=BAD)
def test_unusable_answer(api, source, ca, make, why):
    """Is refused with the reason."""
    api.say(make(response(ca, "web")))
    with pytest.raises(IdentityUnavailable, match=why):
        source(patience=SHORT).credentials("web")


@pytest.mark.parametrize("make", [make for make, _ in BAD.values()], ids=BAD)
def test_unusable_answer_later_on(api, source, ca, ear, make, until):
    """Changes nothing, and the next good one on the same stream is taken."""
    api.say(response(ca, "web"))
    watch = source().credentials("web")
    first = watch.value
    api.say(make(response(ca, "web")))
    ear.hears("identity-trouble")
    assert first is watch.value
    api.say(response(ca, "web"))
    until(watch, lambda it: it.leaf != first.leaf)
    assert 1 == api.calls


def test_the_key_of_another(api, source, ca):
    """A certificate with a key that does not belong to it is no identity."""
    one, two = response(ca, "web", "web").svids
    api.say(SvidResponse((replace(one, key=two.key),)))
    with pytest.raises(IdentityUnavailable, match="belongs to another certificate"):
        source(patience=SHORT).credentials("web")


def test_expired_on_arrival(api, source, ca):
    """What is over already is not begun with."""
    api.say(response(ca, "web", until=-10.0))
    with pytest.raises(IdentityUnavailable, match="which is not now"):
        source(patience=SHORT).credentials("web")


def test_another_service(api, source, ca):
    """A process that is registered as one service cannot speak as another."""
    api.say(response(ca, "db"))
    with pytest.raises(IdentityUnavailable, match=f"this process is {ca.id_of('db')}"):
        source(patience=SHORT).credentials("web")


def test_no_agent(source, tmp_path):
    """Says where it was looked for, and what to look at."""
    with pytest.raises(IdentityUnavailable, match=r"gone\.sock: No such file") as caught:
        source(address=f"unix://{tmp_path}/gone.sock", patience=SHORT).credentials("web")
    assert "mounted" in caught.value.hint


def test_an_agent_that_says_nothing(api, source):
    """Is not waited for longer than promised."""
    with pytest.raises(IdentityUnavailable, match="did not answer within"):
        source(patience=SHORT).credentials("web")


def test_another_grpc_server(tmp_path, source):
    """Is no use, which is said at once."""
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        server.add_insecure_port(f"unix:{tmp_path}/other.sock")
        server.start()
        identity = source(address=f"unix:{tmp_path}/other.sock", patience=50.0)
        with pytest.raises(IdentityUnavailable, match="is no Workload API"):
            identity.credentials("web")
        server.stop(0).wait()


def test_address_of_the_environment(api, source, ca, monkeypatch):
    """SPIFFE_ENDPOINT_SOCKET is where it is unless somebody says otherwise."""
    api.say(response(ca, "web"))
    monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", api.address)
    assert ca.id_of("web") == source(address="").credentials("web").value.leaf.spiffe_id
    monkeypatch.delenv("SPIFFE_ENDPOINT_SOCKET")
    with pytest.raises(ConfigError, match="SPIFFE_ENDPOINT_SOCKET"):
        source(address="")


def test_closed(api, source, ca):
    """A closed source gives no new credentials, and leaves the old ones."""
    api.say(response(ca, "web"))
    identity = source()
    watch = identity.credentials("web")
    identity.close()
    assert watch is identity.credentials("web")
    with pytest.raises(IdentityUnavailable, match="is closed"):
        identity.credentials("other")


def test_tcp(source, ca):
    """The other kind of address in the standard works as well."""
    api = WorkloadApi("127.0.0.1:0").start()
    try:
        api.say(response(ca, "web"))
        identity = source(address=f"tcp://127.0.0.1:{api.port}")
        assert ca.id_of("web") == identity.credentials("web").value.leaf.spiffe_id
    finally:
        api.stop()
