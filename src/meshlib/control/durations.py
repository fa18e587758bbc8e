"""
Durations as Go and Consul write them: "15s", "1m30s", "250ms".

The grammar and the way of printing are those of Go's `time.ParseDuration` and `Duration.String`.
"""

from __future__ import annotations

import re

from meshlib.errors import ConfigError

_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,  # U+00B5, the micro sign
    "μs": 10**3,  # U+03BC, the Greek letter
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?(" + "|".join(sorted(_NANOSECONDS, reverse=True)) + ")")
_LONGEST_TEXT = 64
_LONGEST = (1 << 63) - 1
"""Nanoseconds Go can count: 292 years."""


def parse_duration(text: object, *, path: str = "duration") -> float:
    """Seconds; may be negative.  Raises ConfigError naming `path` for anything Go would refuse."""
    if isinstance(text, str) and 0 < len(text) <= _LONGEST_TEXT:
        negative, unsigned = text[0] == "-", text.lstrip("+-") if text[0] in "+-" else text
        nanoseconds = 0 if unsigned == "0" else _nanoseconds(unsigned)
        one_sign = len(text) - len(unsigned) <= 1
        if nanoseconds is not None and nanoseconds <= _LONGEST and one_sign:
            return (-nanoseconds if negative else nanoseconds) / 10**9
    raise ConfigError(path, text, 'a duration such as "250ms", "15s" or "1m30s"')


def _nanoseconds(text: str) -> int | None:
    total = position = 0
    while position < len(text) or not position:
        part = _PART.match(text, position)
        if part is None or not (part[1] or part[2]):
            return None
        unit, fraction = _NANOSECONDS[part[3]], part[2] or ""
        total += int(part[1] or "0") * unit + int(fraction or "0") * unit // 10 ** len(fraction)
        position = part.end()
    return total


def format_duration(seconds: float) -> str:
    """Seconds, to the nanosecond, as Go prints them: "1m30s", "250ms", "0s".

    Raises ConfigError for what is no number of seconds, or more than Go can count.
    """
    if not abs(seconds) * 10**9 <= _LONGEST:  # also false for NaN
        raise ConfigError("duration", seconds, "a number of seconds, at most 292 years of them")
    nanoseconds = round(abs(seconds) * 10**9)
    sign = "-" if seconds < 0 and nanoseconds else ""
    return sign + (_long(nanoseconds) if nanoseconds >= 10**9 else _short(nanoseconds))


def _short(nanoseconds: int) -> str:
    if not nanoseconds:
        return "0s"
    unit = next(unit for unit in ("ms", "µs", "ns") if nanoseconds >= _NANOSECONDS[unit])
    return _decimal(nanoseconds, _NANOSECONDS[unit]) + unit


def _long(nanoseconds: int) -> str:
    minutes, rest = divmod(nanoseconds, _NANOSECONDS["m"])
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, _NANOSECONDS['s'])}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _decimal(nanoseconds: int, unit: int) -> str:
    whole, rest = divmod(nanoseconds, unit)
    digits = f"{rest:0{len(str(unit)) - 1}d}".rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)
