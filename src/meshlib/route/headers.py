"""Changes to headers: what is removed, then added, then set; what they are given stays as it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from multidict import CIMultiDict

from meshlib.config.routes import check_header, check_name
from meshlib.errors import ConfigError

FRAMING = frozenset(
    {"connection", "content-encoding", "content-length", "keep-alive", "te", "trailer"}
    | {"transfer-encoding", "upgrade"}
)
"""Who changes these changes where a message ends, or what its bytes mean."""
_VARIABLE = re.compile(r"%[A-Z_]+(?:\([^)]*\))?%")


@dataclass(frozen=True, slots=True)
class HeaderChanges:
    """Remove, then add, then set: Envoy's order.  Nothing said changes nothing.

    `set` and `remove` can be applied twice without harm; `add` adds again.
    """

    add: tuple[tuple[str, str], ...] = ()
    set: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.add or self.set or self.remove)

    def then(self, later: HeaderChanges) -> HeaderChanges:
        """One set of changes that does what these do, and then `later`."""
        if not (self and later):
            return self or later
        gone = {name.lower() for name in later.remove}
        more = {name.lower() for name, _ in later.add}
        again = {name.lower() for name, _ in later.set}
        mine = {name.lower(): (name, value) for name, value in self.set}
        # What is set, and then added to, must not be set last: it is removed, and added first.
        joined = [pair for name, pair in mine.items() if name in more - gone]
        add = [(n, v) for n, v in self.add if n.lower() not in gone | (mine.keys() & more)]
        kept = [pair for name, pair in mine.items() if name not in gone | more | again]
        return HeaderChanges(
            (*add, *joined, *later.add),
            (*kept, *later.set),
            tuple(dict.fromkeys((*self.remove, *later.remove, *(name for name, _ in joined)))),
        )

    def applied(self, headers: Mapping[str, str]) -> CIMultiDict[str]:
        """The changed headers, as a copy."""
        changed = CIMultiDict(headers)
        for name in self.remove:
            changed.popall(name, None)
        for name, value in self.add:
            changed.add(name, value)
        for name, value in self.set:
            changed[name] = value
        return changed

    def applied_raw(self, raw: Iterable[tuple[bytes, bytes]]) -> Sequence[tuple[bytes, bytes]]:
        """The same for headers as they were received; order, case and repetition stay."""
        gone = {name.lower().encode() for name in self.remove}
        over = {name.lower().encode() for name, _ in self.set}
        kept = [(name, value) for name, value in raw if name.lower() not in gone]
        kept += [(name.encode(), value.encode()) for name, value in self.add]
        kept = [(name, value) for name, value in kept if name.lower() not in over]
        last = {name.lower(): (name.encode(), value.encode()) for name, value in self.set}
        return [*kept, *last.values()]


NO_CHANGES = HeaderChanges()


def to_host(host: str) -> HeaderChanges:
    """What makes a request say that it is for `host`; "" changes nothing."""
    return HeaderChanges(set=(("host", host),)) if host else NO_CHANGES


def check_changes(changes: HeaderChanges) -> None:
    """Raise ConfigError for what a document may not change, or could not be sent."""
    for path, pairs in (("Add", changes.add), ("Set", changes.set)):
        for name, value in pairs:
            _check(name, value, f"{path}.{name}")
    for number, name in enumerate(changes.remove):
        _check(name, "", f"Remove[{number}]")


def _check(name: str, value: str, path: str) -> None:
    check_name(name, path=path)
    check_header(name, value, path=path)
    if name.lower() in FRAMING:
        raise ConfigError(path, name, "a header that does not frame the message")
    if name.lower() == "host":
        raise ConfigError(path, name, "another header", hint="HostRewrite changes the host")
    if _VARIABLE.search(value):
        raise ConfigError(path, value, "plain text: Envoy's %VARIABLES% are not known here")
