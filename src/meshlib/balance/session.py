"""
Sticky sessions: a caller comes back to the endpoint that served it first.

The endpoint's name travels with the caller, in a cookie or a header, so nobody has to remember
anything: a new process, or another one, finds the same endpoint (Envoy's stateful session, gRPC's
A55).  The name is a hash of what makes it the same endpoint, and tells nobody where it is.

A caller without a name, or with one that leads nowhere, is balanced as anybody is, and told the
name of whom it got.  If the settings are strict, a name that leads nowhere is an error: what the
session holds is there or it is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

from meshlib.balance.load import EndpointState, Key, key_of
from meshlib.balance.picker import Pick, Picker
from meshlib.config import SessionConfig
from meshlib.model import Attempt, Call, Endpoint, NewCookie
from meshlib.policy.breaker import UNCOUNTED, State
from meshlib.policy.cookies import cookie_value


@lru_cache(maxsize=65536)
def name_of(key: Key) -> str:
    """The name of an endpoint, for callers: 16 hexadecimal digits."""
    text = "\0".join(map(str, key))
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def named(call: Call, config: SessionConfig) -> str:
    """The name `call` brings with it, or the empty string."""
    if config.header:
        return call.headers.get(config.header, "")
    return cookie_value(call.headers.get("cookie", ""), config.cookie)


def header_of(endpoint: Endpoint, config: SessionConfig) -> tuple[bytes, bytes]:
    """The header of the reply that tells the caller whom it got."""
    name = name_of(key_of(endpoint))
    if config.header:
        return config.header.encode("ascii"), name.encode("ascii")
    cookie = NewCookie(config.cookie, name, config.path, int(config.ttl))
    return b"set-cookie", str(cookie).encode("latin-1")


class Sessions:
    """Picks whom the call names; asks `inner` for everybody else."""

    __slots__ = ("_config", "_named", "inner")

    def __init__(
        self, inner: Picker, members: Sequence[EndpointState], config: SessionConfig
    ) -> None:
        self.inner, self._config = inner, config
        self._named = {name_of(state.key): state for state in members}

    def pick(self, attempt: Attempt) -> Pick | None:
        """The named endpoint, somebody else if it fails or has been tried, or None if strict."""
        name = named(attempt.call, self._config)
        if not name:
            return self.inner.pick(attempt)
        state = self._named.get(name)
        if self._config.strict:
            return None if state is None else _only(state)
        if state is None or state.breaker.state is not State.CLOSED:
            return self.inner.pick(attempt)
        if state.endpoint in attempt.call.tried:
            return self.inner.pick(attempt)
        return Pick(state, state.breaker.permit)


def _only(state: EndpointState) -> Pick:
    """Nobody else will do, so it is tried whatever its breaker says, as a probe if one is due."""
    permit = state.breaker.permit
    if permit == UNCOUNTED:
        permit = state.breaker.try_probe()
    return Pick(state, permit)
