"""No bytes but those of the issuer make a token, and no clock but ours says when."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.config import JwtProviderConfig
from meshlib.testing.issuer import AUDIENCE, ISSUER, Issuer, encoded
from meshlib.trust.jwt import check_claims, issuer_of, proven
from meshlib.trust.keyset import BadToken, KeySet, read_keys

NOW = 1_700_000_000.0
HIM = Issuer(NOW)
KEYS = read_keys(HIM.published())
PROVIDER = JwtProviderConfig(issuer=ISSUER, audiences=(AUDIENCE,), jwks_file="keys.json")
GOOD = HIM.token()

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@given(st.integers(0, len(GOOD) - 1), st.characters(max_codepoint=0x2FF))
def test_no_character_can_be_changed(at, by):
    """Of head, payload or signature."""
    changed = GOOD[:at] + by + GOOD[at + 1 :]
    if changed == GOOD:
        assert HIM.claims() == proven(changed, KEYS, PROVIDER, NOW)
        return
    with pytest.raises(BadToken):
        proven(changed, KEYS, PROVIDER, NOW)


@given(st.text(max_size=200) | st.binary(max_size=90).map(lambda raw: f"{encoded(raw)}.e30.e30"))
def test_anything_else_is_a_bad_token(text):
    """No text raises anything but BadToken."""
    for reading in issuer_of, lambda token: proven(token, KEYS, PROVIDER, NOW):
        try:
            reading(text)
        except BadToken:
            continue
        assert reading is issuer_of


@given(st.dictionaries(st.sampled_from(["alg", "kid", "crit", "jwk", "typ", "b64"]), VALUES))
def test_no_head_makes_another_signature_good(head):
    """Whatever it asks for, what was not signed by the issuer is refused."""
    other = Issuer(NOW, kid="k1")
    text = f"{encoded({'alg': 'ES256', **head})}.{encoded(HIM.claims())}"
    for signature in (encoded(bytes(64)), other.token().split(".")[2], ""):
        with pytest.raises(BadToken):
            proven(f"{text}.{signature}", KEYS, PROVIDER, NOW)


@given(st.dictionaries(st.sampled_from(["iss", "aud", "exp", "nbf", "iat", "sub"]), VALUES))
def test_claims_are_good_or_bad(changes):
    """Of any shape; and what is good is of the issuer, for us, and has an end."""
    claims = {**HIM.claims(), **changes}
    try:
        check_claims(claims, PROVIDER, NOW)
    except BadToken:
        return
    assert ISSUER == claims["iss"]
    assert AUDIENCE in claims["aud"]
    assert claims["exp"] > NOW - PROVIDER.clock_skew


@given(st.floats(-1e6, 1e6), st.floats(0, 1e4), st.floats(-1e6, 1e6))
def test_time(exp, skew, now):
    """It is good up to its end and the skew, and not a moment longer."""
    provider = JwtProviderConfig(
        issuer=ISSUER, audiences=(AUDIENCE,), jwks_file="keys.json", clock_skew=skew
    )
    claims = {"iss": ISSUER, "aud": AUDIENCE, "exp": exp}
    if now < exp + skew:
        check_claims(claims, provider, now)
    else:
        with pytest.raises(BadToken):
            check_claims(claims, provider, now)


@given(st.binary(max_size=200) | VALUES.map(lambda value: json.dumps({"keys": [value]}).encode()))
def test_any_key_set_is_read_or_refused(data):
    """With a ValueError, and nothing else."""
    try:
        assert isinstance(read_keys(data), KeySet)
    except ValueError:
        return
