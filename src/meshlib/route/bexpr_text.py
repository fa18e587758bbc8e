"""
The words of Consul's filter language: identifiers, numbers, strings and symbols, with their place.

What go-bexpr refuses is refused here too, so that a filter that works on the embedded store also
works on Consul: keywords need blanks on both sides, and a double quote inside "..." cannot be
escaped (write `...` around it).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from meshlib.errors import ConfigError

LONGEST = 4096
"""Characters of one filter; real ones have some dozens."""

_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r\n]+)
    | (?P<word>[a-zA-Z][a-zA-Z0-9_/]*)
    | (?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?=[ \t\r\n)]|$))
    | (?P<raw>`[^`]*`)
    | (?P<string>"[^"]*")
    | (?P<step>\.(?:[a-zA-Z][a-zA-Z0-9_/]*|[0-9]+))
    | (?P<symbol>==|!=|[()\[\]])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\])|x([0-9a-fA-F]{2})|([0-3][0-7]{2})"
    r"|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))|(\\|\n)"
)
_CONTROL = dict(zip("abfnrtv\\", b"\a\b\f\n\r\t\v\\", strict=True))


class FilterError(ConfigError):
    """A filter that cannot be read; the message points at the column, counted from 1."""

    def __init__(self, text: str, position: int, expected: str, *, hint: str = "") -> None:
        super().__init__("Filter", text, f"{expected} at column {position + 1}", hint=hint)
        self.column = position + 1


@dataclass(frozen=True, slots=True)
class Token:
    """One word.  `text` is as written, `value` what it stands for."""

    kind: str
    """word, number, string, step (".name"), symbol or end."""
    text: str
    value: str
    position: int
    blank_before: bool
    blank_after: bool


def tokens(text: str) -> list[Token]:
    """Cut a filter into words, closed by one of kind "end".  Raises FilterError."""
    if len(text) > LONGEST:
        raise FilterError(text[:80] + "…", LONGEST, f"no more than {LONGEST} characters")
    _check_characters(text)
    found: list[Token] = []
    position, blank = 0, True
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _unreadable(text, position)
        if match.lastgroup != "blank":
            found.append(_token(text, match, blank_before=blank))
        position, blank = match.end(), match.lastgroup == "blank"
    found.append(Token("end", "", "", len(text), blank_before=True, blank_after=True))
    return found


def _check_characters(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise FilterError(text, error.start, "a character that exists") from None


def _token(text: str, match: re.Match[str], *, blank_before: bool) -> Token:
    kind, written = str(match.lastgroup), match[0]
    value = written
    if kind == "raw":
        kind, value = "string", written[1:-1].replace("\r", "")
    elif kind == "string":
        value = _unquoted(text, match.start(), written[1:-1])
    after = text[match.end() : match.end() + 1]
    return Token(kind, written, value, match.start(), blank_before, after in " \t\r\n")


def _unreadable(text: str, position: int) -> FilterError:
    character = text[position]
    if character in '"`':
        return FilterError(text, position, f"a closing {character} for the one")
    if character.isdigit() or character == "-":
        return FilterError(text, position, "a plain number, or quotes around the value,")
    return FilterError(text, position, f"something other than {character!r}")


def _unquoted(text: str, start: int, inner: str) -> str:
    """What Go's `strconv.Unquote` makes of a double-quoted string."""

    def replace(match: re.Match[str]) -> str:
        control, byte, octal, short, long, wrong = match.groups()
        if wrong:
            hint = "write `...` around text with quotes, backslashes or line ends in it"
            raise FilterError(text, start + 1 + match.start(), "an escape Go knows", hint=hint)
        if control:
            return chr(_CONTROL[control])
        if byte or octal:
            # A byte of UTF-8: kept as a surrogate until its neighbours are known.
            number = int(byte, 16) if byte else int(octal, 8)
            return bytes([number]).decode("utf-8", "surrogateescape")
        return _character(text, start + 1 + match.start(), int(short or long, 16))

    joined = _ESCAPE.sub(replace, inner).encode("utf-8", "surrogateescape")
    try:
        return joined.decode("utf-8")
    except UnicodeDecodeError:
        raise FilterError(text, start, "valid UTF-8 in the string") from None


def _character(text: str, position: int, code: int) -> str:
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise FilterError(text, position, "a character that exists")
    return chr(code)
