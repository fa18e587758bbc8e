"""
What others wrote, cut to what is understood here.

Our own documents are read strictly.  What a registry returns was written by others, for other
programs, or by a later version: what is not understood is left out and named, so that the rest can
be honoured.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import cache
from typing import Any

from msgspec import inspect

from meshlib.control.decoding import Duration, Fields
from meshlib.control.durations import format_duration

Ignored = Callable[[str], None]


@cache
def _info(kind: type[Fields]) -> inspect.Type:
    return inspect.type_info(kind)


def tolerated(
    kind: type[Fields], body: Any, *, silent: Collection[str] = (), path: str = ""
) -> tuple[Any, tuple[str, ...]]:
    """`body` with only the fields of `kind`, and the paths of those that were left out.

    Nulls go, as Go writes them for what is empty.  Unknown fields that say nothing (empty, false,
    zero) or have a `silent` name are not mentioned.  Durations that are numbers of nanoseconds
    become text.  Everything else that is wrong stays, for the strict reader to say so.
    """
    ignored: list[str] = []
    cut = _Cut(frozenset(silent), ignored.append)
    return cut.value(_info(kind), body, path), tuple(ignored)


class _Cut:
    def __init__(self, silent: frozenset[str], ignored: Ignored) -> None:
        self._silent, self._ignored = silent, ignored

    def value(self, node: inspect.Type, value: Any, path: str) -> Any:
        """`value`, which the type says is a `node`."""
        node = _present(node)
        match node, value:
            case inspect.StructType(), dict():
                return self._fields(node, value, path)
            case inspect.DictType(), dict():
                return {
                    key: self.value(node.value_type, each, f"{path}.{key}")
                    for key, each in value.items()
                    if each is not None
                }
            case inspect.VarTupleType(), list():
                return self._items(node.item_type, value, path)
            case inspect.CustomType(cls=cls), int() if cls is Duration and _counts(value):
                return format_duration(value / 10**9)
        return value

    def _fields(self, node: inspect.StructType, value: dict[Any, Any], path: str) -> dict[str, Any]:
        known = {field.encode_name: field.type for field in node.fields}
        self._mention(path, ((key, each) for key, each in value.items() if key not in known))
        return {
            key: self.value(known[key], each, f"{path}.{key}" if path else key)
            for key, each in value.items()
            if key in known and each is not None
        }

    def _items(self, node: inspect.Type, values: list[Any], path: str) -> list[Any]:
        return [self.value(node, each, f"{path}[{n}]") for n, each in enumerate(values)]

    def _mention(self, path: str, unknown: Iterable[tuple[str, Any]]) -> None:
        for key, value in unknown:
            if value and key not in self._silent:
                self._ignored(f"{path}.{key}" if path else key)


def _counts(nanoseconds: int) -> bool:
    """Whether it is a number, and one that Go can hold."""
    return not isinstance(nanoseconds, bool) and abs(nanoseconds) < 1 << 62


def _present(node: inspect.Type) -> inspect.Type:
    """The `X` of an `X | None`."""
    options = node.types if isinstance(node, inspect.UnionType) else (node,)
    return next(option for option in options if not isinstance(option, inspect.NoneType))
