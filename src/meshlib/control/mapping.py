"""From a document's fields to settings: what is left out keeps the default of `meshlib.config`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from meshlib.config import parse
from meshlib.control.decoding import Duration, Fields
from meshlib.errors import ConfigError

ConfigT = TypeVar("ConfigT")


def settings(kind: type[ConfigT], fields: Fields) -> ConfigT:
    """The settings that `fields` say.  Raises ConfigError with a path as documents spell it."""
    return parsed(kind, said(fields), "")


def parsed(kind: type[ConfigT], values: Mapping[str, Any], path: str) -> ConfigT:
    """The settings of plain data.  Raises ConfigError with a path as documents spell it."""
    try:
        return parse(kind, values, path=path)
    except ConfigError as error:
        expected = error.why.removeprefix("expected ")
        raise ConfigError(pascal(error.path), error.value, expected, hint=error.hint) from None


def said(fields: Fields) -> dict[str, Any]:
    """Only what the document said, as plain data."""
    values = ((name, getattr(fields, name)) for name in fields.__struct_fields__)
    return {name: _plain(value) for name, value in values if value is not None}


def pascal(path: str) -> str:
    """`.retry.per_try_timeout` as the document spells it."""
    steps = path.strip(".").split(".")
    return ".".join("".join(word.capitalize() for word in step.split("_")) for step in steps)


def _plain(value: Any) -> Any:
    if isinstance(value, Fields):
        return said(value)
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return tuple(_plain(each) for each in value)
    return float(value) if isinstance(value, Duration) else value
