"""What a caller says before its message, walked through once for whoever reads it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from meshlib.policy import priority as priorities
from meshlib.serve.admission import claims_identity
from meshlib.serve.context import CARRIED

if TYPE_CHECKING:
    import grpc

Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]

REMEMBERED = 1024
"""Names whose kind is kept ..."""
LONGEST_REMEMBERED = 64
"""... of no more characters than this: callers make up names as they like."""

_CARRIED = frozenset((*CARRIED, priorities.HEADER))
_CLAIM: Final = 1
_TAKEN: Final = 2


class Said(NamedTuple):
    """The metadata of one RPC."""

    shown: Metadata
    """What the application sees of it: all but claims of identity."""
    headers: dict[str, str]
    """The same as headers; of those of one name the last."""
    carried: dict[str, str]
    """What is meant for the mesh."""


class _Kinds(dict[str, int]):
    """What a name is to the mesh: bits, none of them for most names."""

    def __missing__(self, name: str) -> int:
        claim = _CLAIM if name[:1] == "x" and claims_identity(name) else 0
        kind = claim | (_TAKEN if name in _CARRIED else 0)
        if len(name) <= LONGEST_REMEMBERED:
            if len(self) >= REMEMBERED:
                self.clear()
            self[name] = kind
        return kind


_KINDS = _Kinds()


def read(said: Metadata) -> Said:
    """All that is read of it."""
    shown: list[tuple[str, str | bytes]] = []
    headers: dict[str, str] = {}
    carried: dict[str, str] = {}
    for pair in said:
        name, value = pair
        text = value if isinstance(value, str) else as_text(value)
        kind = _KINDS[name]
        if not kind & _CLAIM:
            shown.append(pair)
            headers[name] = text
        if kind & _TAKEN:
            carried[name] = text
    return Said(said if len(shown) == len(said) else tuple(shown), headers, carried)


def without_claims(said: Metadata) -> Metadata:
    """The metadata but for what says who is calling."""
    shown = [pair for pair in said if not _KINDS[pair[0]] & _CLAIM]
    return said if len(shown) == len(said) else tuple(shown)


def stripped(details: grpc.HandlerCallDetails) -> grpc.HandlerCallDetails:
    """What the application sees of an RPC before its context, of the very class grpcio wants."""
    said = details.invocation_metadata or ()
    shown = without_claims(said)
    if shown is said:
        return details
    kind: Any = type(details)
    kept: grpc.HandlerCallDetails = kind(details.method, shown)
    return kept


def as_text(value: str | bytes) -> str:
    """As it was on the wire: what is bytes here is base64 there."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
