"""Tokens of end users, in front of either kind of application, and as intentions ask for them."""

from __future__ import annotations

import asyncio
import dataclasses
import logging

import pytest

from meshlib.config import JwtConfig, JwtProviderConfig, ServingConfig
from meshlib.errors import ConfigError
from meshlib.serve.admission import Connection
from meshlib.serve.asgi import CONNECTION, MeshASGI
from meshlib.serve.authorize import Authorization
from meshlib.serve.tokens import Tokens
from meshlib.serve.wsgi import MeshWSGI
from meshlib.testing.issuer import AUDIENCE, ISSUER, Issuer
from meshlib.trust.intention import Intention, IntentionSet
from meshlib.trust.keyset import read_keys
from meshlib.trust.permission import ClaimTest, Permission, TokenTest
from meshlib.watch import Watch

HIM = Issuer(77.0)
PROVIDER = JwtProviderConfig(issuer=ISSUER, audiences=(AUDIENCE,), jwks_file="keys.json")
EDGE = Connection(None, edge=True)
ADMIN = TokenTest((("corp", (ClaimTest(("role",), "admin"),)),))


class Source:
    """One key, known from the start."""

    def keys(self, provider):
        return Watch(read_keys(HIM.published()), ready=True)

    def unknown_key(self, provider):
        pass


def serving(**jwt):
    return ServingConfig(jwt=JwtConfig(providers={"corp": PROVIDER}, **jwt))


@pytest.fixture
def config():
    return Watch(serving(), ready=True)


@pytest.fixture
def intentions():
    return Watch(IntentionSet("backend"), ready=True)


@pytest.fixture
def guarded(options, config, intentions):
    """Options that check tokens, and then ask the intentions."""
    guard = Authorization("backend", intentions, config, options.credentials, options.listener)
    tokens = Tokens(config, Source, options.unix)
    return dataclasses.replace(options, authorization=guard, tokens=tokens)


def asgi(options, connection, token):
    """Status, challenge, and what the application saw."""
    sent, seen = [], []

    async def app(scope, receive, send):
        seen.append(scope["state"]["mesh_claims"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"backend")]
    headers += [(b"authorization", f"Bearer {token}".encode())] if token else []
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/a",
        "raw_path": b"/a",
        "headers": headers,
        "state": {CONNECTION: connection},
    }
    asyncio.run(MeshASGI(app, options)(scope, None, send))
    challenge = dict(sent[0]["headers"]).get(b"www-authenticate", b"").decode()
    return sent[0]["status"], challenge, seen


def wsgi(options, connection, token):
    """The same."""
    started, seen = [], []

    def app(environ, start_response):
        seen.append(environ["mesh.claims"])
        start_response("200 OK", [])
        return []

    class Transport:
        def connection_of(self, environ):
            return connection

        def close_after(self, environ):
            pass

    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/a", "HTTP_HOST": "backend"}
    if token:
        environ["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    mesh = MeshWSGI(app, options)
    mesh.transport = Transport()
    result = mesh(environ, lambda status, headers: started.append((status, dict(headers))))
    list(result)
    if hasattr(result, "close"):
        result.close()
    status, headers = started[0]
    return int(status[:3]), headers.get("www-authenticate", ""), seen


@pytest.fixture(params=[asgi, wsgi], ids=["asgi", "wsgi"])
def ask(request, guarded):
    """`ask(connection, token)` in front of either kind of application."""
    return lambda connection, token="": request.param(guarded, connection, token)


def test_claims_reach_the_application(ask, connection):
    """By the name of the provider; without a token there are none."""
    for who in connection, EDGE:
        assert (200, "", [{"corp": HIM.claims(role="admin")}]) == ask(who, HIM.token(role="admin"))
        assert (200, "", [{}]) == ask(who)


def test_a_bad_token_is_refused_wherever_it_comes_from(ask, connection, spans):
    """Also where none is asked for, and it is counted."""
    for who in connection, EDGE:
        assert (401, 'Bearer error="invalid_token"', []) == ask(who, HIM.token(exp=0))
    assert [("token", 401)] * 2 == spans.refused


@pytest.mark.parametrize(
    ("required", "of_peer", "of_edge"),
    [("never", 200, 200), ("edge", 200, 401), ("always", 401, 401)],
)
def test_of_whom_a_token_is_asked(ask, connection, config, required, of_peer, of_edge):
    """By the configuration of this moment."""
    config.set(serving(required=required))
    assert (of_peer, of_edge) == (ask(connection)[0], ask(EDGE)[0])
    assert (200, 200) == (ask(connection, HIM.token())[0], ask(EDGE, HIM.token())[0])


@pytest.mark.parametrize(
    "rule",
    [
        Intention("frontend", "backend", permissions=(Permission(True, token=ADMIN),)),
        Intention("frontend", "backend", allow=True, token=ADMIN),
    ],
    ids=["permission", "intention"],
)
def test_intentions_ask_for_claims(ask, connection, intentions, rule):
    """Without a token 401, with one that says something else 403."""
    intentions.set(IntentionSet("backend", (rule,), allow=False))
    assert (401, "Bearer") == ask(connection)[:2]
    assert (403, "") == ask(connection, HIM.token(role="user"))[:2]
    assert 200 == ask(connection, HIM.token(role="admin"))[0]
    assert 200 == ask(connection, HIM.token(role=["user", "admin"]))[0]


def test_before_the_settings_are_known(options):
    """Nobody is let in: they may ask for a token."""
    unknown = Tokens(Watch(ServingConfig()), Source, options.unix)
    assert 503 == asgi(dataclasses.replace(options, tokens=unknown), EDGE, "")[0]


def test_what_cannot_check_lets_no_token_through(options, config, caplog):
    """As without the extra: no token is taken, and the question whether one is asked for stays."""

    def missing():
        raise ConfigError("serving.jwt", "jwt", "PyJWT to be installed")

    config.set(serving(required="edge"))
    with caplog.at_level(logging.ERROR, "meshlib.jwt"):
        broken = dataclasses.replace(options, tokens=Tokens(config, missing, options.unix))
    assert (503, 401) == (asgi(broken, EDGE, HIM.token())[0], asgi(broken, EDGE, "")[0])
    assert "PyJWT" in caplog.text


def test_a_header_of_its_own(options):
    """The token stands there by itself, and `authorization` is left to the application."""
    provider = JwtProviderConfig(
        issuer=ISSUER, audiences=(AUDIENCE,), jwks_file="keys.json", header="x-token"
    )
    config = ServingConfig(jwt=JwtConfig(providers={"corp": provider}))
    tokens = Tokens(Watch(config, ready=True), Source, options.unix)
    headers = {"x-token": HIM.token(), "authorization": "Bearer whatever"}
    assert {"corp": HIM.claims()} == tokens.claims(headers.get, edge=True)


def test_two_providers_of_one_issuer(options):
    """One that vouches is enough; each says what it vouches for."""
    other = JwtProviderConfig(issuer=ISSUER, audiences=("other",), jwks_file="keys.json")
    config = ServingConfig(jwt=JwtConfig(providers={"corp": PROVIDER, "other": other}))
    tokens = Tokens(Watch(config, ready=True), Source, options.unix)

    def names(*audiences):
        headers = {"authorization": f"Bearer {HIM.token(aud=list(audiences))}"}
        return set(tokens.claims(headers.get, edge=True))

    assert {"corp"} == names(AUDIENCE)
    assert {"corp", "other"} == names(AUDIENCE, "other")
