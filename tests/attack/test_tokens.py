"""Tokens of end users that must be refused, each but one change away from a good one."""

from __future__ import annotations

import json

import pytest

from meshlib.config import JwtConfig, JwtProviderConfig, ServingConfig
from meshlib.serve.admission import Refusal
from meshlib.serve.tokens import MISSING, Tokens
from meshlib.testing.issuer import AUDIENCE, ISSUER, Issuer, encoded
from meshlib.trust.keyset import read_keys
from meshlib.watch import Watch

NOW = 1_700_000_000.0
HIM = Issuer(NOW, algorithm="RS256")
ELLIPTIC = Issuer(NOW, algorithm="ES256", kid="k2")
STRANGER = Issuer(NOW, algorithm="ES256", kid="k2")
ALGORITHMS = ("RS256", "ES256")
KEYS = read_keys(HIM.published(ELLIPTIC))
PROVIDER = JwtProviderConfig(
    issuer=ISSUER, audiences=(AUDIENCE,), jwks_file="keys.json", algorithms=ALGORITHMS
)


class Source:
    """Keys as the test has them."""

    def __init__(self, keys=KEYS):
        self.watch, self.unknown = Watch(keys, ready=True), []

    def keys(self, provider):
        return self.watch

    def unknown_key(self, provider):
        self.unknown.append(provider.issuer)


def checking(provider=PROVIDER, *, required="never", source=None):
    config = ServingConfig(jwt=JwtConfig(providers={"corp": provider}, required=required))
    found = source or Source()
    return Tokens(Watch(config, ready=True), lambda: found, lambda: NOW)


def outcome(token, *, scheme="Bearer ", tokens=None):
    """What comes of a request that has this header."""
    headers = {"authorization": f"{scheme}{token}"}
    return (tokens or checking()).claims(headers.get, edge=True)


GOOD = HIM.token()
HEAD, PAYLOAD, SIGNATURE = GOOD.split(".")


def test_the_good_ones():
    """The controls: what all those below are a change away from."""
    for issuer in HIM, ELLIPTIC:
        assert {"corp": issuer.claims()} == outcome(issuer.token())
    assert "ada" == outcome(GOOD, scheme="bEARER   ")["corp"]["sub"]
    assert "corp" in outcome(HIM.token(aud=["x", AUDIENCE]))
    assert "corp" in outcome(HIM.token(exp=NOW - 29, nbf=NOW + 29, iat=NOW + 29))
    assert "corp" in outcome(HIM.token(head={"kid": None}))


def unsigned(alg):
    return f"{encoded({'alg': alg, 'kid': 'k1'})}.{PAYLOAD}"


BAD = {
    "alg none": unsigned("none") + ".",
    "alg none with a signature": f"{unsigned('none')}.{SIGNATURE}",
    "alg None": f"{unsigned('None')}.{SIGNATURE}",
    "alg NONE": f"{unsigned('NONE')}.{SIGNATURE}",
    "alg null": HIM.token(head={"alg": None}),
    "alg a list": HIM.token(head={"alg": ["RS256"]}),
    "alg a number": HIM.token(head={"alg": 256}),
    "alg in small letters": HIM.token(head={"alg": "rs256"}),
    "alg with a blank": HIM.token(head={"alg": "RS256 "}),
    "no signature": f"{HEAD}.{PAYLOAD}.",
    "no third part": f"{HEAD}.{PAYLOAD}",
    "four parts": f"{GOOD}.{SIGNATURE}",
    "five parts, as encrypted ones have": f"{GOOD}.{SIGNATURE}.{SIGNATURE}",
    "HMAC with the public key": HIM.forged({"alg": "HS256", "kid": "k1"}, HIM.public_pem()),
    "HMAC with the stripped public key": HIM.forged(
        {"alg": "HS256", "kid": "k1"}, HIM.public_pem().strip()
    ),
    "HMAC with the key set": HIM.forged({"alg": "HS256"}, HIM.published()),
    "HMAC with nothing": HIM.forged({"alg": "HS256", "kid": "/dev/null"}, b""),
    "HMAC that says RS256": HIM.forged({"alg": "RS256", "kid": "k1"}, HIM.public_pem()),
    "an algorithm that is not allowed": Issuer(NOW, algorithm="PS256").token(),
    "an algorithm of another key": HIM.token(head={"kid": "k2"}),
    "another key that says our kid": STRANGER.token(),
    "another key without a kid": STRANGER.token(head={"kid": None}),
    "the key in its own head": STRANGER.token(head={"jwk": STRANGER.jwk(), "kid": None}),
    "a URL of keys in its head": STRANGER.token(head={"jku": "https://evil.example/keys"}),
    "certificates in its head": STRANGER.token(head={"x5c": ["MIIB"], "x5u": "https://evil"}),
    "an extension": HIM.token(head={"crit": ["exp"], "exp": 1}),
    "an empty extension": HIM.token(head={"crit": []}),
    "an unencoded payload": HIM.token(head={"b64": False}),
    "a head with alg twice": HIM.signed(PAYLOAD).replace(
        HEAD, encoded(b'{"alg":"none","alg":"RS256","kid":"k1"}')
    ),
    "a changed claim": f"{HEAD}.{encoded(HIM.claims(sub='eve'))}.{SIGNATURE}",
    "a changed signature": f"{HEAD}.{PAYLOAD}.{SIGNATURE[:-8]}AAAAAAAA",
    "a cut signature": f"{HEAD}.{PAYLOAD}.{SIGNATURE[:-4]}",
    "a zero signature of ECDSA (CVE-2022-21449)": ".".join(
        [*ELLIPTIC.token().split(".")[:2], encoded(bytes(64))]
    ),
    "padding": f"{HEAD}==.{PAYLOAD}.{SIGNATURE}",
    "the other alphabet": GOOD.replace("_", "/").replace("-", "+") + "+",
    "a line end": f"{GOOD}\n{GOOD}",
    "a NUL": f"{GOOD}\0",
    "another script": GOOD[:-1] + "\u0967",
    "nothing": "",
    "two of them": f"{GOOD}, Bearer {GOOD}",
    "a good one, and another": f"{GOOD},Bearer {STRANGER.token()}",
    "two with a blank": f"{GOOD} {GOOD}",
    "huge": HIM.token(pad="x" * 100_000),
    "huge, and not a token": "a" * 1_000_000,
    "many dots": "." * 8000,
    "nested deeply": f"{encoded(b'[' * 3000)}.{PAYLOAD}.{SIGNATURE}",
    "a payload nested deeply": HIM.signed(encoded(b'{"a":' * 1000 + b"1" + b"}" * 1000)),
    "a head that is a list": HIM.signed(PAYLOAD).replace(HEAD, encoded([1])),
    "a payload that is a list": HIM.signed(encoded([HIM.claims()])),
    "a payload that is text": HIM.signed(encoded("ada")),
    "a payload that is no JSON": HIM.signed(encoded(b"\xff\xfe")),
    "claims that stand there twice": HIM.signed(
        encoded(
            json.dumps(HIM.claims(iss=None))[:-1].encode()
            + b', "iss": "x", "iss": "%s"}' % ISSUER.encode()
        )
    ),
    "expired": HIM.token(exp=NOW - 31),
    "expires with the skew": HIM.token(exp=NOW - 30),
    "no end": HIM.token(exp=None),
    "an end that is text": HIM.token(exp=str(NOW + 300)),
    "an end that is true": HIM.token(exp=True),
    "an end that is NaN": HIM.token(exp=float("nan")),
    "an end at infinity": HIM.signed(
        encoded(json.dumps(HIM.claims(exp=7)).replace("7}", "1e999}").encode())
    ),
    "an end that no clock reaches": HIM.token(exp=10**30),
    "an end that is a list": HIM.token(exp=[NOW + 300]),
    "not valid yet": HIM.token(nbf=NOW + 31),
    "not valid yet, in words": HIM.token(nbf="tomorrow"),
    "issued tomorrow": HIM.token(iat=NOW + 86400),
    "another issuer": HIM.token(iss="https://issuer.example.evil"),
    "an issuer with a slash more": HIM.token(iss=f"{ISSUER}/"),
    "an issuer in capitals": HIM.token(iss=ISSUER.upper()),
    "an issuer in a list": HIM.token(iss=[ISSUER]),
    "no issuer": HIM.token(iss=None),
    "another audience": HIM.token(aud="billing"),
    "an audience that begins like ours": HIM.token(aud=AUDIENCE + "2"),
    "no audience": HIM.token(aud=None),
    "an audience in an object": HIM.token(aud={AUDIENCE: 1}),
    "no audience in a list": HIM.token(aud=[]),
    "a list in a list": HIM.token(aud=[[AUDIENCE]]),
}
for name, kid in {
    "a path": "../../../../dev/null",
    "an absolute path": "/etc/passwd",
    "a URL": "https://evil.example/key",
    "SQL": "x' UNION SELECT 'key",
    "a NUL": "k1\0",
    "a list": ["k1"],
    "an object": {"k1": 1},
    "a number": 1,
    "nothing": "",
    "capitals": "K1",
}.items():
    BAD[f"a kid that is {name}"] = HIM.token(head={"kid": kid})


@pytest.mark.parametrize("what", BAD)
def test_bad_tokens(what):
    """401, with the challenge of RFC 6750, and not a character of the token in the answer."""
    found = outcome(BAD[what])
    assert isinstance(found, Refusal), found
    assert 401 == found.status
    assert (("www-authenticate", 'Bearer error="invalid_token"'),) == found.headers
    assert all(part not in found.reason for part in BAD[what].split(".") if len(part) > 3)


def test_what_is_no_token():
    """Other schemes are none, and leave the question whether one is asked for."""
    for value in ("Basic YTpi", "Bearerx", "", GOOD):
        assert {} == outcome("", scheme=value)
        assert MISSING == outcome("", scheme=value, tokens=checking(required="always"))


def test_symmetric_and_weak_keys_are_no_keys():
    """A set may hold them; nothing is checked with them."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    weak = Issuer(NOW, algorithm="RS256", kid="weak")
    weak.key = rsa.generate_private_key(65537, 1024)
    sets = {
        "symmetric": {"kty": "oct", "k": encoded(b"secret" * 6), "kid": "k1", "alg": "HS256"},
        "symmetric, as RS256": {"kty": "oct", "k": encoded(b"secret"), "kid": "k1", "alg": "RS256"},
        "for encryption": HIM.jwk(use="enc"),
        "for signing only": {**HIM.jwk(), "key_ops": ["sign"]},
        "private": {**HIM.jwk(), "d": "AQAB"},
        "weak": weak.jwk(),
        "RSA for ES256": HIM.jwk(alg="ES256"),
        "RSA for none": HIM.jwk(alg="none"),
        "an unknown kind": {"kty": "X", "kid": "k1"},
        "no key": {"kid": "k1"},
        "text": "key",
    }
    for said in sets.values():
        with pytest.raises(ValueError, match="can check a signature"):
            read_keys(json.dumps({"keys": [said]}).encode())


def test_claims_cannot_be_changed_for_others():
    """What one request does with its claims, the next one with the same token does not see."""
    tokens = checking()
    outcome(GOOD, tokens=tokens)["corp"]["sub"] = "eve"
    assert "ada" == outcome(GOOD, tokens=tokens)["corp"]["sub"]


def test_a_token_that_was_good_expires():
    """Its signature is remembered, not that it was good."""
    now = [NOW]
    config = Watch(ServingConfig(jwt=JwtConfig(providers={"corp": PROVIDER})), ready=True)
    source = Source()
    tokens = Tokens(config, lambda: source, lambda: now[0])
    assert "corp" in outcome(GOOD, tokens=tokens)
    now[0] += 331
    assert 401 == outcome(GOOD, tokens=tokens).status


def test_a_key_that_is_withdrawn_proves_nothing():
    """Not for a token either that was good a moment ago; and the new key is good at once."""
    source = Source(read_keys(HIM.published()))
    tokens = checking(source=source)
    assert "corp" in outcome(GOOD, tokens=tokens)
    assert 401 == outcome(ELLIPTIC.token(), tokens=tokens).status
    assert [ISSUER] == source.unknown
    source.watch.set(read_keys(ELLIPTIC.published()))
    assert 401 == outcome(GOOD, tokens=tokens).status
    assert "corp" in outcome(ELLIPTIC.token(), tokens=tokens)


def test_without_keys_a_token_may_still_be_good():
    """503, not 401: nobody should throw it away; and what says nothing is let through as ever."""
    tokens = checking(source=Source(None))
    assert 503 == outcome(GOOD, tokens=tokens).status
    assert {} == tokens.claims({}.get, edge=True)
