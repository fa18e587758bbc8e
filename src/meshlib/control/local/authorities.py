"""
What `state.json` says, and what may follow from it: no files, no keys and no clock.

    prepared   trusted, and signs nothing yet
    active     trusted, and signs
    retiring   trusted and signs no more; what it signed may still be valid

A rotation is three steps, each one commit: `prepared` publishes a second root, `activated` signs
beneath it, `finished` drops the first.  A step that was done already changes nothing, so that two
who rotate at once get one rotation.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import msgspec

from meshlib.errors import ControlError

LEAF_TTL = 72 * 3600.0
"""Seconds; Consul's default."""

Role = Literal["prepared", "active", "retiring"]


class Authority(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One root, and the number of the issuing certificate in use beneath it; 0: none yet."""

    generation: int
    issuing: int
    retired: float = 0.0
    """Since when it signs no more, Unix time; 0: it signs, or will."""
    root: str = ""
    """The fingerprint of its root, so that the state of another CA is never the same bytes."""


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What state.json holds; `active` is the generation that signs, all others are trusted."""

    version: Literal[1]
    trust_domain: str
    active: int
    authorities: tuple[Authority, ...]
    longest_leaf: float = LEAF_TTL
    """Seconds that any leaf may live, whoever asked for it: a root is not dropped earlier."""

    @property
    def signing(self) -> Authority:
        """The one that is active.  Raises LookupError."""
        for each in self.authorities:
            if each.generation == self.active:
                return each
        raise LookupError(f"authority {self.active} is active but not listed")

    @property
    def retiring(self) -> Authority | None:
        """The one that `finished` would drop."""
        return self._other("retiring")

    @property
    def prepared(self) -> Authority | None:
        """The one that `activated` would sign with."""
        return self._other("prepared")

    def role(self, authority: Authority) -> Role:
        """What an authority does."""
        if authority.generation == self.active:
            return "active"
        return "prepared" if authority.generation > self.active else "retiring"

    def _other(self, role: Role) -> Authority | None:
        return next((each for each in self.authorities if self.role(each) == role), None)


def prepared(state: State) -> State:
    """With a second root, yet to be made, that everybody begins to trust.  Raises ControlError."""
    if state.prepared is not None:
        return state
    if state.retiring is not None:
        raise ControlError(
            "the last rotation is not finished",
            why=f"root {state.retiring.generation} is still trusted",
            hint="meshlib ca rotate finish",
        )
    return _with(state, Authority(state.active + 1, 0))


def activated(state: State, now_unix: float) -> State:
    """Signing beneath the root that was prepared.  Raises ControlError."""
    new, old = state.prepared, state.signing
    if new is not None:
        changed = _with(state, msgspec.structs.replace(old, retired=now_unix))
        changed = _with(changed, msgspec.structs.replace(new, issuing=1))
        return msgspec.structs.replace(changed, active=new.generation)
    if state.retiring is None:
        raise ControlError("no root is prepared", hint="meshlib ca rotate prepare")
    return state


def finished(state: State, now_unix: float, *, force: bool) -> State:
    """Without the root that retires, unless what it signed may be valid yet.

    Raises ControlError, also when another root is prepared that does not sign.
    """
    old = state.retiring
    if state.prepared is not None:
        raise ControlError(
            "the rotation cannot be finished",
            why=f"root {state.prepared.generation} is prepared and signs nothing yet",
            hint="meshlib ca rotate activate",
        )
    if old is None:
        return state
    if not force and now_unix <= droppable_at(state, old):
        raise ControlError(
            f"root {old.generation} cannot be dropped yet",
            why=f"certificates that it vouches for may be valid until "
            f"{utc(droppable_at(state, old))}",
            hint="wait until then; --force drops it now, and whoever shows one is refused",
        )
    kept = tuple(each for each in state.authorities if each is not old)
    return msgspec.structs.replace(state, authorities=kept)


def renewed(state: State) -> State:
    """With the next issuing certificate beneath the same root."""
    signing = state.signing
    return _with(state, msgspec.structs.replace(signing, issuing=signing.issuing + 1))


def rooted(state: State, generation: int, fingerprint: str) -> State:
    """Knowing the root of an authority."""
    found = next(each for each in state.authorities if each.generation == generation)
    return _with(state, msgspec.structs.replace(found, root=fingerprint))


def lived_longer(state: State, leaf_ttl: float) -> State:
    """Knowing that a leaf may live this long."""
    longest = max(state.longest_leaf, leaf_ttl)
    return msgspec.structs.replace(state, longest_leaf=longest)


def droppable_at(state: State, retiring: Authority) -> float:
    """When the last leaf of an authority that retires has expired, Unix time."""
    return retiring.retired + state.longest_leaf


def utc(unix: float) -> str:
    """A moment, for people."""
    return f"{datetime.fromtimestamp(unix, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _with(state: State, authority: Authority) -> State:
    others = {each.generation: each for each in state.authorities}
    others[authority.generation] = authority
    return msgspec.structs.replace(state, authorities=tuple(v for _, v in sorted(others.items())))
