"""
From plain JSON data to frozen structs, and from what is wrong with it to a path one can find.

`msgspec` does the work; this module says *where* in full (`Splits[1].Weight`, `Subsets.v2.Filter`),
*what* stands there and what would be right.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias, TypeVar

import msgspec
from msgspec import inspect

from meshlib.control.durations import parse_duration
from meshlib.errors import ConfigError

Steps: TypeAlias = tuple[str | int, ...]
"""The way to a value: names and list positions."""


class Duration(float):
    """Seconds, never negative; in JSON a Go duration such as "1m30s"."""

    __slots__ = ()


class Fields(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="pascal"
):
    """Base of everything that is read from a document: PascalCase keys, none of them unknown."""


FieldsT = TypeVar("FieldsT", bound=Fields)


def read(kind: type[FieldsT], body: Mapping[str, Any], *, path: str) -> FieldsT:
    """Make `kind` of plain data.  Raises ConfigError with the full path of what is wrong."""
    try:
        return _convert(kind, body)
    except msgspec.ValidationError as error:
        raise _located(error, kind, body, path) from None


def _convert(kind: type[FieldsT], body: Mapping[str, Any]) -> FieldsT:
    return msgspec.convert(body, kind, dec_hook=_custom)


def _custom(kind: type, value: object) -> object:
    if kind is not Duration:
        raise NotImplementedError(kind)
    seconds = parse_duration(value, path="")
    if seconds < 0:
        raise ConfigError("", value, "a duration that is not negative")
    return Duration(seconds)


# ------------------------------------------------------------------------------------- the error


def _located(
    error: msgspec.ValidationError, kind: type[Fields], body: Mapping[str, Any], path: str
) -> ConfigError:
    reason, steps = _taken_apart(error)
    steps = _named(steps, kind, body)
    cause = error.__cause__
    if isinstance(cause, ConfigError):
        return _refused(cause, steps, body, path)
    node = _node(inspect.type_info(kind), steps)
    field = _quoted(reason)
    if "unknown field" in reason:
        known = [field.encode_name for field in getattr(node, "fields", ())]
        expected = f"one of {', '.join(known)}"
        return ConfigError(_path(path, (*steps, field)), _value(body, (*steps, field)), expected)
    if "missing required field" in reason:
        return ConfigError(_path(path, (*steps, field)), None, "a value, it must be given")
    return ConfigError(_path(path, steps), _value(body, steps), _expected(reason, node))


def _refused(cause: ConfigError, steps: Steps, body: Mapping[str, Any], path: str) -> ConfigError:
    """A rule of ours was broken, at a path that begins where the struct does."""
    within = f".{cause.path}" if cause.path else ""
    value, expected = cause.value, cause.why.removeprefix("expected ")
    if isinstance(value, float):
        value = _value(body, (*steps, *_steps(within)), value)
    if isinstance(value, str):
        expected = expected.replace("a number", "a duration")
    return ConfigError(_path(path, steps) + within, value, expected, hint=cause.hint)


def _taken_apart(error: msgspec.ValidationError) -> tuple[str, Steps]:
    """Cut "reason - at `$.a[0]`" in two; what is wrong at the top has no second half."""
    text, cause = str(error), error.__cause__
    head = str(cause) if isinstance(cause, ConfigError) else ""
    reason, found, where = text.removeprefix(head).rpartition(" - at `$")
    return (reason, _steps(where)) if found else (where, ())


_STEP = re.compile(r"\.([^.\[\]`]+)|\[([0-9]+|\.\.\.)\]")


def _steps(where: str) -> Steps:
    return tuple(
        int(step[2]) if step[2] and step[2].isdecimal() else step[1] or step[2]
        for step in _STEP.finditer(where)
    )


def _named(steps: Steps, kind: type[Fields], body: Mapping[str, Any]) -> Steps:
    """Put the key in for what msgspec calls `[...]`: try each alone, until one fails likewise."""
    items = _value(body, steps[:1])
    if "..." not in steps or not isinstance(items, Mapping):
        return steps
    for key, value in items.items():
        try:
            _convert(kind, {str(steps[0]): {key: value}})
        except msgspec.ValidationError as error:
            _, alone = _taken_apart(error)
            if alone == steps:
                return tuple(key if step == "..." else step for step in steps)
    return steps


def _path(path: str, steps: Steps) -> str:
    return path + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


def _value(value: Any, steps: Steps, missing: object = None) -> object:
    for step in steps:
        try:
            value = value[step]
        except (LookupError, TypeError):
            return missing
    return value


# -------------------------------------------------------------------------- what would be right

_WORDS = {
    " | null": "",
    "`array`": "a list",
    "`bool`": "true or false",
    "`float`": "a number",
    "`int`": "an integer",
    "`object`": "an object",
    "`str`": "a string",
}


def _expected(reason: str, node: inspect.Type) -> str:
    """The reason in the words of JSON."""
    if isinstance(node, inspect.LiteralType):
        return f"one of {', '.join(map(str, node.values))}"
    reason = reason.removeprefix("Expected ")
    for theirs, ours in _WORDS.items():
        reason = reason.replace(theirs, ours)
    return reason


def _quoted(reason: str) -> str:
    """What stands in backquotes."""
    first, last = reason.find("`"), reason.rfind("`")
    return reason[first + 1 : last]


def _node(node: inspect.Type, steps: Steps) -> inspect.Type:
    """What the types say about the value at `steps`."""
    for step in steps:
        node = _child(node, step)
    return _present(node)


def _present(node: inspect.Type) -> inspect.Type:
    """The `X` of an `X | None`."""
    options = node.types if isinstance(node, inspect.UnionType) else (node,)
    return next(option for option in options if not isinstance(option, inspect.NoneType))


def _child(node: inspect.Type, step: str | int) -> inspect.Type:
    node = _present(node)
    match node:
        case inspect.StructType():
            return next((f.type for f in node.fields if f.encode_name == step), inspect.AnyType())
        case inspect.DictType():
            return node.value_type
        case inspect.VarTupleType():
            return node.item_type
        case _:
            return inspect.AnyType()
