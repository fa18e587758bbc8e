"""
The key of a call, hashed: calls with the same key go to the same endpoint.

Hashes are those of Envoy's `HashPolicyImpl`: xxHash64 of the value, and where several keys are
found, each hash is joined to the one before, rotated by a bit so that equal ones do not cancel.

A call without any key is no error: its balancer draws at random.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeAlias

from meshlib.config import HashKeyConfig
from meshlib.errors import ConfigError
from meshlib.model import Call, NewCookie
from meshlib.policy.cookies import cookie_value
from meshlib.runtime import Rng


class Hash(Protocol):
    """64 bits, of bytes and a seed."""

    def __call__(self, data: bytes, seed: int = 0, /) -> int:
        """The hash."""


_WORD = 2**64 - 1


def xxhash64() -> Hash:
    """xxHash64.  Loads `xxhash`, which nobody else needs; raises ConfigError without it."""
    try:
        from xxhash import xxh64_intdigest  # noqa: PLC0415 - an extra, and only two balancers' need
    except ImportError:
        raise ConfigError(
            "balancer", "xxhash", "the package to be installed", hint="pip install 'meshlib[hash]'"
        ) from None
    return xxh64_intdigest


class HashKey:
    """Finds the keys that `configs` name in a call."""

    __slots__ = ("_finders", "_hash")

    def __init__(self, configs: Sequence[HashKeyConfig], rng: Rng) -> None:
        self._finders = tuple((_finder(config, rng), config.terminal) for config in configs)
        self._hash = xxhash64()

    def __call__(self, call: Call) -> int | None:
        """The hash of all keys found, or None.  Sets a cookie if the policy asks for one."""
        joined: int | None = None
        for find, terminal in self._finders:
            key = find(call)
            if key is not None:
                new = self._hash(key.encode("utf-8", "surrogatepass"))
                joined = new if joined is None else _rotated(joined) ^ new
            if terminal and joined is not None:
                break
        return joined


def _rotated(word: int) -> int:
    return (word << 1 | word >> 63) & _WORD


# ----------------------------------------------------------------------------- one kind of key each

Find: TypeAlias = Callable[[Call], str | None]


def _finder(config: HashKeyConfig, rng: Rng) -> Find:
    if config.header:
        return partial(_header, name=config.header.lower())
    if config.query:
        return partial(_query, name=config.query)
    if config.cookie:
        return partial(_cookie, config=config, rng=rng)
    return _source


def _header(call: Call, name: str) -> str | None:
    return call.headers.get(name)


def _source(call: Call) -> str | None:
    return call.source or None


def _query(call: Call, name: str) -> str | None:
    """The first value as it stands in the URL, not decoded; as Envoy has it."""
    if name not in call.query:
        return None
    for pair in call.query.split("&"):
        found, _, value = pair.partition("=")
        if found == name:
            return value
    return None


def _cookie(call: Call, config: HashKeyConfig, rng: Rng) -> str | None:
    value = cookie_value(call.headers.get("cookie", ""), config.cookie)
    if value:
        return value
    return None if config.ttl is None else _new_cookie(call, config, config.ttl, rng)


def _new_cookie(call: Call, config: HashKeyConfig, ttl: float, rng: Rng) -> str:
    """Made once a call: all its attempts have the same key."""
    for cookie in call.set_cookies:
        if cookie.name == config.cookie:
            return cookie.value
    value = f"{int(rng.random() * 2**53):016x}"
    call.set_cookies += (NewCookie(config.cookie, value, config.path, int(ttl)),)
    return value
