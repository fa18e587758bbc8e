"""What makes a caller come back to the same version: the value of one header or one cookie."""

from __future__ import annotations

import re
from dataclasses import dataclass

from meshlib.errors import ConfigError
from meshlib.model import Call

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


def cookie_value(header: str, name: str) -> str:
    """The value of cookie `name` in a Cookie header, without quotes; "" when it is not there.

    The first one counts, as browsers send the most specific path first (RFC 6265 section 5.4).
    Garbage between semicolons is passed over; nothing raises.
    """
    if name not in header:
        return ""
    for crumb in header.split(";"):
        found, equals, value = crumb.partition("=")
        if equals and found.strip(" \t") == name:
            return _unquoted(value.strip(" \t"))
    return ""


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] == '"'
    return value[1:-1] if quoted else value
