"""What a caller says before its message, walked through once for whoever reads it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, cast

from meshlib.policy import priority as priorities
from meshlib.serve.admission import claims_identity
from meshlib.serve.context import CARRIED

if TYPE_CHECKING:
    import grpc

Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]

REMEMBERED = 1024
"""Combinations of names that are kept ..."""
MOST_NAMES, LONGEST_NAME = 24, 48
"""... if they are no more, and none of them is longer: callers make up names as they like."""

_CARRIED = frozenset((*CARRIED, priorities.HEADER))
_BINARY: Final = "-bin"

_Pair: TypeAlias = tuple[str, str | bytes]
_Picked: TypeAlias = Callable[[Sequence[_Pair]], tuple[_Pair, ...]]


class Said(NamedTuple):
    """The metadata of one RPC."""

    shown: Metadata
    """What the application sees of it: all but claims of identity."""
    headers: dict[str, str]
    """The same as headers; of those of one name the last."""
    carried: dict[str, str]
    """What is meant for the mesh."""


class _Shape(NamedTuple):
    """What follows from the names alone, which are the same from one RPC to the next."""

    shown: _Picked | None
    """None: all of it."""
    carried: _Picked
    texts: Callable[[Metadata], dict[str, str]]
    """What makes headers of them."""


class _Shapes(dict[tuple[str, ...], _Shape]):
    """Those met lately."""

    def __missing__(self, names: tuple[str, ...]) -> _Shape:
        shape = _shape_of(names)
        if len(names) <= MOST_NAMES and max(map(len, names), default=0) <= LONGEST_NAME:
            if len(self) >= REMEMBERED:
                self.clear()
            self[names] = shape
        return shape


_SHAPES = _Shapes()


def read(said: Metadata) -> Said:
    """All that is read of it."""
    shape = _SHAPES[tuple([pair[0] for pair in said])]
    shown = said if shape.shown is None else shape.shown(said)
    return Said(shown, shape.texts(shown), shape.texts(shape.carried(said)))


def without_claims(said: Metadata) -> Metadata:
    """The metadata but for what says who is calling."""
    shown = _SHAPES[tuple([pair[0] for pair in said])].shown
    return said if shown is None else shown(said)


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


def _encoded(said: Metadata) -> dict[str, str]:
    return {name: as_text(value) for name, value in said}


def _plain(said: Metadata) -> dict[str, str]:
    # not by `dict`, which takes three times as long for pairs of a class of their own, as these are
    return {name: value for name, value in said}  # type: ignore[misc]  # noqa: C416 - see above


def _shape_of(names: tuple[str, ...]) -> _Shape:
    shown = [at for at, name in enumerate(names) if not claims_identity(name)]
    return _Shape(
        None if len(shown) == len(names) else _pick(shown),
        _pick([at for at, name in enumerate(names) if name in _CARRIED]),
        _encoded if any(name.endswith(_BINARY) for name in names) else _plain,
    )


def _pick(places: list[int]) -> _Picked:
    """What gives the pairs at these places."""
    if len(places) > 1:
        return cast("_Picked", itemgetter(*places))
    first, after = (*places, *(at + 1 for at in places)) or (0, 0)
    return lambda said: tuple(said[first:after])
