"""What makes a caller come back to the same version: the value of one header or one cookie."""

from __future__ import annotations

import re
from dataclasses import dataclass

from meshlib.errors import ConfigError
from meshlib.model import Call
from meshlib.policy.cookies import cookie_value

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110 section 5.6.2: what header names, and RFC 6265 cookie names, are made of."""


@dataclass(frozen=True, slots=True)
class Sticky:
    """Where the key stands: in a header or in a cookie, never both.

    Raises ConfigError when neither or both are given, or when the name could never be sent.
    """

    header: str = ""
    """A header's name, compared without regard to case."""
    cookie: str = ""
    """A cookie's name; case matters."""

    def __post_init__(self) -> None:
        if bool(self.header) == bool(self.cookie):
            given = {"Header": self.header, "Cookie": self.cookie}
            raise ConfigError("Sticky", given, "either a Header or a Cookie")
        field, name = ("Header", self.header) if self.header else ("Cookie", self.cookie)
        if not _TOKEN.fullmatch(name):
            raise ConfigError(f"Sticky.{field}", name, "a name of letters, digits and -._~ only")
        object.__setattr__(self, "header", self.header.lower())

    def key(self, call: Call) -> str:
        """The value that decides, or the empty string when this call carries none."""
        if self.header:
            return call.headers.get(self.header, "")
        return cookie_value(call.headers.get("cookie", ""), self.cookie)
