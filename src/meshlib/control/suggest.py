"""
From what a service was asked for to the intentions that allow just that.  Pure.

Nothing is guessed beyond two steps: methods that are used on one path make one permission, and more
than `SIBLINGS` paths side by side become their common prefix.  What was asked for once is allowed
for ever, so the result is to be read before it is applied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from meshlib.control.intentions import KIND
from meshlib.control.observed import Seen
from meshlib.trust.intention import ANYBODY

SIBLINGS = 5
"""Paths side by side that are spelled out."""
PERMISSIONS = 30
"""For one caller; beyond them it may do everything, which is said."""


def suggested(service: str, seen: Iterable[Seen]) -> dict[str, Any]:
    """A `service-intentions` document: each caller may do what it did, and nobody else anything."""
    callers: dict[str, list[Seen]] = {}
    for each in seen:
        if not unusable(each):
            callers.setdefault(each.caller, []).append(each)
    sources = [_source(caller, rows) for caller, rows in sorted(callers.items())]
    everybody = {"Name": ANYBODY, "Action": "deny"}
    return {"Kind": KIND, "Name": service, "Sources": [*sources, everybody]}


def unusable(each: Seen) -> str:
    """Why no intention can allow this; "" if one can."""
    if not each.caller or each.caller.startswith("("):
        return "its caller has proven no identity of a service"
    if not each.path:
        return "its path can be read in more than one way"
    return "" if each.method else "its method is none that is known"


def _source(caller: str, rows: list[Seen]) -> dict[str, Any]:
    methods: dict[str, set[str]] = {}
    for row in rows:
        methods.setdefault(row.path, set()).add(row.method)
    permissions = _permissions(_folded(methods))
    if len(permissions) > PERMISSIONS:
        count = f"{len(permissions)} different requests: everything is allowed"
        return {"Name": caller, "Action": "allow", "Description": count}
    rest = {"Action": "deny", "HTTP": {"PathPrefix": "/"}}
    return {"Name": caller, "Permissions": [*permissions, rest]}


def _folded(methods: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Paths, or their common prefix where they are many; what a prefix covers is in it."""
    beside: dict[str, list[str]] = {}
    for path in methods:
        beside.setdefault(path.rpartition("/")[0], []).append(path)
    folded: dict[str, set[str]] = {}
    for parent, paths in beside.items():
        for path in paths:
            name = path if len(paths) <= SIBLINGS else f"{parent}/*"
            folded.setdefault(name, set()).update(methods[path])
    return {path: used for path, used in folded.items() if not _covered(path, used, folded)}


def _covered(path: str, used: set[str], by: Mapping[str, set[str]]) -> bool:
    return any(
        path != other and other.endswith("*") and path.startswith(other[:-1]) and used <= allowed
        for other, allowed in by.items()
    )


def _permissions(methods: Mapping[str, set[str]]) -> list[dict[str, Any]]:
    """The longest first: what is said of a part goes before what is said of the whole."""
    ordered = sorted(methods.items(), key=lambda item: (-len(item[0]), item[0]))
    return [
        {"Action": "allow", "HTTP": {**_path(path), "Methods": sorted(used)}}
        for path, used in ordered
    ]


def _path(path: str) -> dict[str, str]:
    return {"PathPrefix": path[:-1]} if path.endswith("*") else {"PathExact": path}
