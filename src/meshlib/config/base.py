"""
What all settings share: they are frozen, comparable and checked once.

A bad value raises `ConfigError` with the field's path; `parse` adds the path of what surrounds it
and refuses unknown fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, TypeVar

import msgspec

from meshlib.errors import ConfigError


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all settings."""

    def _check(self, field: str, *, expected: str, ok: bool) -> None:
        if not ok:
            raise ConfigError(field, getattr(self, field), expected)

    def _at_least(self, least: float, *fields: str) -> None:
        for field in fields:
            value = getattr(self, field)
            fine = isfinite(value) and value >= least
            self._check(field, expected=f"a number >= {least:g}", ok=fine)

    def _positive(self, *fields: str) -> None:
        for field in fields:
            value = getattr(self, field)
            self._check(field, expected="a number > 0", ok=isfinite(value) and value > 0)

    def _share(self, *fields: str) -> None:
        for field in fields:
            self._check(field, expected="a fraction 0..1", ok=0 <= getattr(self, field) <= 1)


ConfigT = TypeVar("ConfigT")


def parse(kind: type[ConfigT], value: Mapping[str, Any], *, path: str) -> ConfigT:
    """Make `kind` of plain data; raises ConfigError naming `path`, the field and its value."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as exc:
        raise _explained(exc, value, path) from None


def _explained(exc: msgspec.ValidationError, value: object, path: str) -> ConfigError:
    """Turn msgspec's "... - at `$.a.b[0]`" into the path, the value there, and what was right."""
    cause = exc.__cause__
    reason, _, where = str(exc).partition(" - at `$")
    where = where.rstrip("`")
    if isinstance(cause, ConfigError):
        field = f"{where}.{cause.path}".strip(".")
        return ConfigError(f"{path}.{field}", cause.value, cause.why.removeprefix("expected "))
    if "unknown field" in reason:
        where = f"{where}.{reason.rsplit('`', 2)[-2]}"
        reason = "a field that exists"
    reason = reason.removeprefix("Expected ")
    return ConfigError(f"{path}{where}", _look_up(value, where), reason)


def _look_up(value: Any, where: str) -> object:
    for step in where.replace("[", ".").replace("]", "").split("."):
        if isinstance(value, list) and step.isdigit():
            value = value[int(step)]
        elif isinstance(value, Mapping) and step:
            value = value.get(step)
    return value
