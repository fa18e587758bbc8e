"""
One more rule in a `service-intentions` document: what `meshlib allow` and `deny` write.  Pure.

A rule without conditions replaces all that was said about its caller.  A rule with conditions goes
before the others, as the latest word; what was said without conditions becomes the last of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from meshlib.errors import ConfigError

Body: TypeAlias = Mapping[str, Any]

EVERYTHING: Mapping[str, Any] = {"PathPrefix": "/"}


def with_rule(body: Body, source: str, action: str, http: Mapping[str, Any] | None = None) -> Body:
    """The document with this rule about calls of `source`; equal if that is what it says already.

    `http` is what the rule is about, in the document's words; None: everything.
    """
    sources = list(body.get("Sources", ()))
    place = next((n for n, each in enumerate(sources) if each.get("Name") == source), len(sources))
    standing = sources[place] if place < len(sources) else {"Name": source}
    sources[place : place + 1] = [_ruled(standing, action, http)]
    return {**body, "Sources": sources}


def _ruled(standing: Body, action: str, http: Mapping[str, Any] | None) -> Body:
    rest = {key: value for key, value in standing.items() if key not in {"Action", "Permissions"}}
    if http is None:
        return {**rest, "Action": action}
    said = standing.get("Action")
    if said == action:
        return standing
    before = list(standing.get("Permissions") or ())
    if said:
        before.append({"Action": said, "HTTP": dict(EVERYTHING)})
    kept = [each for each in before if each.get("HTTP") != http]
    return {**rest, "Permissions": [{"Action": action, "HTTP": dict(http)}, *kept]}


def condition(path: str | None, methods: Sequence[str], headers: Sequence[str]) -> Body | None:
    """What a rule is about, from the command line's words; None: everything.

    `/cities/*` is a prefix, a path without `*` is exact; a header is `name` (it is there) or
    `name=value`.  Raises ConfigError.
    """
    asked: dict[str, Any] = {}
    if path is not None:
        asked |= _path(path)
    if headers:
        asked["Header"] = [_header(text) for text in headers]
    if methods:
        asked["Methods"] = sorted({method.upper() for method in methods})
    return asked or None


def _path(path: str) -> dict[str, str]:
    prefix, star, rest = path.partition("*")
    if rest or not path.startswith("/"):
        raise ConfigError("path", path, "a path such as /cities, or a prefix such as /cities/*")
    return {"PathPrefix": prefix} if star else {"PathExact": path}


def _header(text: str) -> dict[str, Any]:
    name, equals, value = text.partition("=")
    if not name or (equals and not value):
        raise ConfigError("header", text, "a name, or name=value")
    return {"Name": name, "Exact": value} if equals else {"Name": name, "Present": True}
