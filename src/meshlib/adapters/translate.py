"""
Our errors as a library's own: each becomes a class that is both.

Users catch what they know.  The original is chained as the cause, and keeps its name: an
`httpx.ConnectError` that was a `meshlib.NoRoute` still is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from meshlib.errors import MeshError

Table: TypeAlias = Mapping[type[MeshError], type[Exception]]


class Translator:
    """The classes that are both, for one library.

    `timeouts` stands in for `plain` where an attempt failed because time was up; `attributes` are
    what the library's own constructors would have set.
    """

    def __init__(self, plain: Table, timeouts: Table, **attributes: Any) -> None:
        self._plain = _both(plain)
        self._timed_out = {**self._plain, **_both(timeouts)}
        self._attributes = attributes

    def translated(self, error: MeshError) -> Exception:
        """The same error, as one that users of the library catch too."""
        table = self._timed_out if getattr(error, "timed_out", False) else self._plain
        kind = table[type(error)]
        theirs: Any = kind.__bases__[1]  # a ValueError of ours has no room for an OSError of theirs
        twin: Exception = theirs.__new__(kind, *error.args)
        twin.args = error.args  # an OSError has lost them
        twin.__dict__.update(self._attributes, **error.__dict__)
        return twin


def _both(table: Table) -> Table:
    return {ours: type(ours.__name__, (ours, theirs), {}) for ours, theirs in table.items()}
