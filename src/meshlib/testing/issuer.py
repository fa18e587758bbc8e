"""Somebody who issues tokens to end users, and what others would like to pass off as such."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt import algorithms

ISSUER = "https://issuer.example"
AUDIENCE = "backend"

_RSA_KEY = rsa.generate_private_key(65537, 2048)  # half a second, so it is made once
_NEW: dict[str, Callable[[], Any]] = {
    "RS256": lambda: _RSA_KEY,
    "PS256": lambda: _RSA_KEY,
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}
_WORDS = {
    "RS256": algorithms.RSAAlgorithm,
    "PS256": algorithms.RSAAlgorithm,
    "ES256": algorithms.ECAlgorithm,
    "ES384": algorithms.ECAlgorithm,
    "EdDSA": algorithms.OKPAlgorithm,
}


def encoded(data: object) -> str:
    """A part of a token: bytes as they are, anything else as JSON."""
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Issuer:
    """One issuer with one key a name; `now` is Unix time."""

    def __init__(self, now: float, *, algorithm: str = "ES256", kid: str = "k1") -> None:
        self.now, self.algorithm, self.kid = now, algorithm, kid
        self.key = _NEW[algorithm]()

    def jwk(self, **changes: Any) -> dict[str, Any]:
        """The public key, as it is published; a change to None removes a member."""
        words = _WORDS[self.algorithm].to_jwk(self.key.public_key(), as_dict=True)  # type: ignore[attr-defined]
        said = {**words, "kid": self.kid, "use": "sig", "alg": self.algorithm, **changes}
        said.pop("key_ops", None)
        return {name: value for name, value in said.items() if value is not None}

    def published(self, *others: Issuer) -> bytes:
        """The key set, with the keys of others."""
        return json.dumps({"keys": [each.jwk() for each in (self, *others)]}).encode()

    def claims(self, **changes: Any) -> dict[str, Any]:
        """What a good token says; a change to None removes a claim."""
        said = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "ada",
            "iat": self.now,
            "exp": self.now + 300,
            **changes,
        }
        return {name: value for name, value in said.items() if value is not None}

    def token(self, *, head: dict[str, Any] | None = None, **changes: Any) -> str:
        """A token signed by this issuer, whatever it says."""
        return self.signed(encoded(self.claims(**changes)), head)

    def signed(self, payload: str, head: dict[str, Any] | None = None) -> str:
        """The same for a payload that is encoded already."""
        header = {"alg": self.algorithm, "kid": self.kid, "typ": "JWT", **(head or {})}
        header = {name: value for name, value in header.items() if value is not None}
        text = f"{encoded(header)}.{payload}"
        signer = jwt.get_algorithm_by_name(self.algorithm)
        return f"{text}.{encoded(signer.sign(text.encode(), self.key))}"

    def forged(self, head: dict[str, Any], secret: bytes) -> str:
        """A good token's words under another head, signed with HMAC and `secret`."""
        text = f"{encoded(head)}.{encoded(self.claims())}"
        signer = jwt.get_algorithm_by_name("HS256")
        return f"{text}.{encoded(signer.sign(text.encode(), secret))}"

    def public_pem(self) -> bytes:
        """What an attacker would use as the secret."""
        public = self.key.public_key()
        pem: bytes = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem
