"""When plaintext is accepted, who hears of it, and what it is allowed."""

from __future__ import annotations

import dataclasses
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.config import ServingConfig
from meshlib.observe.events import Inbound
from meshlib.observe.quiet import Quiet
from meshlib.serve.admission import Admission, Connection, Head
from meshlib.serve.authorize import DENIED, Authorization
from meshlib.serve.guarded import authorized
from meshlib.serve.plaintext import Plaintext, is_handshake
from meshlib.serve.tokens import MISSING
from meshlib.trust.intention import Intention, IntentionSet
from meshlib.watch import Watch

HEAD = Head("1.1", "/items")
PLAIN = Connection(None, plaintext=True)
LENIENT = ServingConfig(mtls="permissive")


class Told:
    """Writes events down."""

    def __init__(self):
        self.kinds = []

    def __call__(self, kind, subject, text):
        assert "backend" == subject
        assert "\n" not in text
        self.kinds.append(kind)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def config() -> Watch[ServingConfig]:
    return Watch(ServingConfig())


@pytest.fixture
def mode(config, told) -> Plaintext:
    return Plaintext("backend", config, told)


@pytest.fixture
def admission(options, mode) -> Admission:
    return Admission(options.credentials, options.unix, mode)


def test_before_anything_is_known_it_is_strict(told):
    """Settings that nobody has said yet permit nothing, whatever they are."""
    mode = Plaintext("backend", Watch(LENIENT), told)
    assert ([], False) == (told.kinds, mode.accepted)


def test_each_change_is_told_once(config, mode, told, caplog):
    """A switch is an event and a warning; settings that change in other ways are not."""
    with caplog.at_level(logging.WARNING, logger="meshlib.serve"):
        config.set(ServingConfig())
        config.set(LENIENT)
        config.set(ServingConfig(mtls="permissive", authorization="audit"))
        config.set(ServingConfig())
    assert ["mtls-permissive", "mtls-strict"] == told.kinds
    assert 2 == len(caplog.records)
    assert not mode.accepted


def test_it_is_refused_accepted_and_refused(config, mode, admission):
    """The same standing connection follows the settings from one request to the next."""
    for said, status in (
        (ServingConfig(), 421),
        (LENIENT, None),
        (ServingConfig(), 421),
    ):
        config.set(said)
        refusal = admission.refusal(HEAD, PLAIN)
        assert status == (refusal and refusal.status)


@pytest.mark.parametrize("connection", [None, Connection(None)], ids=["foreign", "no peer"])
def test_it_is_for_plaintext_of_ours_alone(config, admission, connection):
    """Neither a server that nobody vouches for nor TLS without a peer is let in by it."""
    config.set(LENIENT)
    assert 421 == admission.refusal(HEAD, connection).status


def test_a_peer_that_lost_its_trust_is_not_let_in_by_it(config, admission, connection, peer):
    """Who speaks TLS is judged as ever."""
    config.set(LENIENT)
    peer.trusted = False
    assert 421 == admission.refusal(HEAD, connection).status


def test_flaws_are_refused_first(config, admission):
    """Permissive is not lax about requests."""
    config.set(LENIENT)
    assert 400 == admission.refusal(HEAD._replace(hosts=2), PLAIN).status


@given(st.binary(max_size=3))
def test_only_a_handshake_is_one(said):
    """TLS is what begins with the byte 22, and nothing is no TLS."""
    assert is_handshake(said) is said.startswith(b"\x16")


# ---- what is it allowed?

INBOUND = Inbound("GET", "/items", {}, None, ("127.0.0.1", 1), plaintext=True)


def allowed(options, *rules, default):
    """Whether intentions let plaintext in."""
    known = Watch(IntentionSet("backend", rules, default), ready=True)
    serving = Watch(ServingConfig(), ready=True)
    guard = Authorization("backend", known, serving, options.credentials, Quiet())
    refusal = guard.refusal(PLAIN, INBOUND, {}.get)
    assert refusal in {None, DENIED}
    return refusal is None


@pytest.mark.parametrize(
    ("wanted", "rules", "default"),
    [
        (True, (), True),
        (False, (), False),
        (False, (Intention("frontend", "backend", allow=True),), False),
        (False, (Intention("(plaintext)", "backend", allow=True),), False),
        (False, (Intention("*", "backend", allow=False),), True),
        (False, (Intention("*", "backend", allow=True),), False),
        (True, (Intention("*", "backend", allow=True),), True),
    ],
)
def test_it_is_a_stranger_to_intentions(options, wanted, rules, default):
    """A rule that names a service is not about it: only a rule for anybody is, and the default."""
    assert wanted is allowed(options, *rules, default=default)


class Wanting:
    """Tokens that those without an identity must show."""

    def claims(self, header, *, edge):
        return MISSING if edge else {}


def test_it_needs_the_token_that_the_edge_needs(options):
    """Where a token is required of those without an identity, it is required of plaintext."""
    strict = dataclasses.replace(options, tokens=Wanting())
    assert MISSING == authorized(strict, PLAIN, INBOUND, {}.get)[1]


def test_its_name_is_no_service():
    """In metrics and logs it has a name that no service can have."""
    assert "(plaintext)" == INBOUND.caller
