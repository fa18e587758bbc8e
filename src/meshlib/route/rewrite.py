"""The path that is sent, made of the path that was asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from meshlib.config.routes import check_path
from meshlib.errors import ConfigError
from meshlib.route.regex import Regex

_GROUP = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class PrefixRewrite:
    """What a route matched, an exact path or a prefix, becomes something else (Envoy, Consul)."""

    matched: int
    """How many characters the route matched; the case of letters may differ."""
    into: str

    def __post_init__(self) -> None:
        check_path(self.into, path="PrefixRewrite")

    def __call__(self, path: str) -> str:
        """The path to send."""
        return self.into + path[self.matched :]


@dataclass(frozen=True, slots=True)
class RegexRewrite:
    r"""Every part that matches becomes `substitution`, in which `\1` is the first group (Envoy)."""

    regex: Regex
    substitution: str

    def __post_init__(self) -> None:
        for number in _GROUP.findall(self.substitution):
            if not number.isdigit() or int(number) > self.regex.groups:
                known = f"groups \\0 to \\{self.regex.groups} only"
                raise ConfigError("Substitution", self.substitution, known)
        if self.substitution:
            check_path("/" + self.substitution, path="Substitution")

    def __call__(self, path: str) -> str:
        """The path to send; it always begins with a slash."""
        changed = self.regex.replace(path, self.substitution)
        return changed if changed.startswith("/") else "/" + changed


Rewrite: TypeAlias = PrefixRewrite | RegexRewrite
