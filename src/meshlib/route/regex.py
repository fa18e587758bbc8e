"""
Regular expressions of documents: RE2, as Envoy and Consul have them.

RE2 matches in time linear in the text, so that no document and no path can stall a process; what it
leaves out for that (backreferences, look-around) is refused when the document is loaded.  An
expression matches a whole value, never a part of it (Envoy's `safe_regex`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from meshlib.errors import ConfigError

LONGEST = 1024
"""Characters of one expression; real ones have some dozens."""
MEMORY = 1 << 20
"""Bytes one compiled expression may take; RE2 itself allows 8 MiB."""


class Regex:
    """A compiled expression.  Two of the same text and case rule are equal."""

    __slots__ = ("_compiled", "ignore_case", "pattern")

    def __init__(self, pattern: str, *, ignore_case: bool = False, path: str = "") -> None:
        self.pattern, self.ignore_case = pattern, ignore_case
        self._compiled = _compile(pattern, path, ignore_case=ignore_case)

    def matches(self, text: str) -> bool:
        """Whether all of `text` matches."""
        return self._compiled.fullmatch(text) is not None

    def replace(self, text: str, by: str) -> str:
        r"""`text` with every part that matches replaced; `\1` in `by` is the first group."""
        replaced: str = self._compiled.sub(by, text)
        return replaced

    @property
    def groups(self) -> int:
        """How many groups it captures."""
        groups: int = self._compiled.groups
        return groups

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Regex) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[str, bool]:
        return self.pattern, self.ignore_case

    def __repr__(self) -> str:
        return f"Regex({self.pattern!r}{', ignore_case=True' if self.ignore_case else ''})"


@lru_cache(maxsize=256)
def _compiled(pattern: str, *, ignore_case: bool) -> Any:
    """The same document is read by several upstreams and after every change: compile once."""
    import re2  # noqa: PLC0415 - an extra, and only some documents have expressions

    options = re2.Options()
    options.max_mem = MEMORY
    options.log_errors = False
    options.case_sensitive = not ignore_case
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        # The words of RE2 come as bytes; its exception belongs to a module that may be missing.
        said = error.args[0]
        raise ValueError(said.decode() if isinstance(said, bytes) else str(said)) from None


def _compile(pattern: str, path: str, *, ignore_case: bool) -> Any:
    if len(pattern) > LONGEST:
        raise ConfigError(path, pattern[:80] + "…", f"no more than {LONGEST} characters")
    try:
        return _compiled(pattern, ignore_case=ignore_case)
    except ImportError:
        hint = "pip install meshlib[regex]"
        raise ConfigError(
            path, pattern, "no expression, as RE2 is not installed", hint=hint
        ) from None
    except (ValueError, UnicodeError) as error:
        raise ConfigError(path, pattern, f"an expression RE2 accepts ({error})") from None
