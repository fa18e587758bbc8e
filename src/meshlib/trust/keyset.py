"""
The public keys of an issuer of tokens (RFC 7517), and signatures checked with them.

Nothing a token says chooses how it is checked: its `alg` must be one that the configuration allows
*and* one that the key is for, its `kid` is looked up among the keys that are known, and `jku`,
`jwk`, `x5u` and `x5c` are not read.  PyJWT, of the extra `[jwt]`, does the cryptography.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NoReturn

import jwt

LONGEST = 8192
"""Characters of a token; servers allow heads of 64 KiB, and real tokens have one or two."""
LARGEST = 1 << 18
"""Bytes of a key set; real ones have some thousand."""
MOST = 64
"""Keys of a set; real ones have two or three."""
LEAST_RSA = 2048
"""Bits (RFC 7518 section 3.3)."""
REMEMBERED = 512
"""Signatures that were found good, for each key set: a token is sent again and again."""

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_FOR = {
    ("RSA", None): _RSA,
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA"}),
    ("OKP", "Ed448"): frozenset({"EdDSA"}),
}
"""What a key can be used for, by its type and curve; symmetric ones are in no public set."""


class BadToken(Exception):
    """A token that proves nothing; the message says why, and holds nothing of the token."""


class UnknownKey(BadToken):
    """It may be signed with a key that the issuer has not published when we last looked."""


@dataclass(frozen=True, slots=True)
class Key:
    """One public key."""

    kid: str
    algorithms: frozenset[str]
    """Those it can check."""
    said: str
    """The JWK, as JSON."""
    public: Any = field(repr=False, compare=False)


class KeySet:
    """The keys of one issuer; two of the same keys are equal.  Thread-safe."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self.keys = tuple(keys)
        self._checked = lru_cache(maxsize=REMEMBERED)(self._check)

    def payload(self, token: str, algorithms: tuple[str, ...]) -> bytes:
        """What a token says, once its signature was found good.  Raises BadToken."""
        if len(token) > LONGEST:
            raise BadToken(f"it is longer than {LONGEST} characters")
        return self._checked(token, algorithms)

    def _check(self, token: str, algorithms: tuple[str, ...]) -> bytes:
        header = header_of(token)
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in algorithms:
            raise BadToken("its algorithm is not one that is allowed")
        if "crit" in header or "b64" in header:
            raise BadToken("it has extensions that are not understood")
        for key in self._candidates(header.get("kid"), algorithm):
            try:
                payload: bytes = _JWS.decode_complete(token, key.public, [algorithm])["payload"]
            except jwt.PyJWTError:
                continue
            return payload
        kind = BadToken if "kid" in header else UnknownKey
        raise kind("its signature is not by a key of the issuer")

    def _candidates(self, kid: object, algorithm: str) -> list[Key]:
        """The keys it can be signed with; without a name in the token all that are for it."""
        named = [key for key in self.keys if kid is None or key.kid == kid]
        if not named:
            raise UnknownKey("the issuer has no key of that name")
        return [key for key in named if algorithm in key.algorithms]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeySet) and self.keys == other.keys

    def __hash__(self) -> int:
        return hash(self.keys)

    def __repr__(self) -> str:
        return f"<KeySet of {len(self.keys)}>"


_JWS = jwt.PyJWS()


def read_keys(data: bytes) -> KeySet:
    """The keys of a JWK set that can check signatures; others are passed over.

    Raises ValueError, which says why, if there is none.
    """
    if len(data) > LARGEST:
        raise ValueError(f"the key set is larger than {LARGEST} bytes")
    said = parse_json(data)
    listed = said.get("keys")
    if not isinstance(listed, list) or len(listed) > MOST:
        raise ValueError(f"expected a list of at most {MOST} keys")
    keys = [key for each in listed if (key := _key(each)) is not None]
    if not keys:
        raise ValueError(f"none of its {len(listed)} keys can check a signature")
    return KeySet(keys)


def header_of(token: str) -> dict[str, Any]:
    """The first part of a token, of which nothing is proven.  Raises BadToken."""
    return part_of(token, 0)


def part_of(token: str, number: int) -> dict[str, Any]:
    """A part of a token, of which nothing is proven.  Raises BadToken."""
    if len(token) > LONGEST or _COMPACT.fullmatch(token) is None:
        raise BadToken("it is no signed token in compact form")
    try:
        return parse_json(jwt.utils.base64url_decode(token.split(".")[number]))
    except (ValueError, RecursionError) as exc:
        raise BadToken("one of its parts cannot be read") from exc


def parse_json(data: bytes) -> dict[str, Any]:
    """An object that everybody reads alike: no name twice, no NaN.  Raises ValueError."""
    found = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_no_number)
    if not isinstance(found, dict):
        raise ValueError("expected an object")  # noqa: TRY004 - it is the text that is wrong
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _key(said: object) -> Key | None:
    """A key of the set; None for one that is not for checking signatures, or too weak."""
    if not isinstance(said, Mapping) or said.get("use", "sig") != "sig" or "d" in said:
        return None
    operations = said.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    kind, curve, algorithm = said.get("kty"), said.get("crv"), said.get("alg")
    found = _FOR.get((str(kind), None if kind == "RSA" else str(curve)), frozenset())
    if algorithm is not None:
        found = found.intersection([str(algorithm)])
    kid = said.get("kid", "")
    public = _loaded(said, min(found)) if found and isinstance(kid, str) else None
    return None if public is None else Key(kid, found, json.dumps(said, sort_keys=True), public)


def _loaded(said: Mapping[str, Any], algorithm: str) -> Any:
    try:
        public = jwt.PyJWK(dict(said), algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    weak = said["kty"] == "RSA" and public.key_size < LEAST_RSA
    return None if weak else public
