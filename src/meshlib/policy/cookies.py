"""Cookies, as far as a mesh reads them: the value of one that names a caller."""

from __future__ import annotations


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
