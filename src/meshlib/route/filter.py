"""
Which endpoints belong to a subset: Consul's filter language over one endpoint.

Selectors, each as Consul's health endpoint has it: `Service.ID`, `Service.Address`, `Service.Port`,
`Service.Weights.Passing`, `Service.Meta` and its keys, `Service.Meta.version` or
`Service.Meta["a-b"]`; and of endpoints that Consul tells of, `Service.Tags`, `Node.Node`,
`Node.Address`, `Node.Datacenter`, `Node.Meta` and its keys.  Everything else Consul knows is
refused by name: an endpoint does not carry it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from meshlib.errors import ConfigError
from meshlib.model import Endpoint
from meshlib.route.bexpr import And, Expression, Match, Not, Operator, Or, parse
from meshlib.route.bexpr_text import FilterError

Predicate: TypeAlias = Callable[[Endpoint], bool]

LOCAL = "Service.ID, .Address, .Port, .Weights.Passing, .Meta or .Meta.<key>"
CONSUL = f"{LOCAL}, Service.Tags, or Node.Node, .Address, .Datacenter, .Meta or .Meta.<key>"

_TEXT: dict[tuple[str, ...], Callable[[Endpoint], str]] = {
    ("Service", "ID"): lambda endpoint: endpoint.id,
    ("Service", "Address"): lambda endpoint: endpoint.host,
    ("Node", "Node"): lambda endpoint: endpoint.node.name,
    ("Node", "Address"): lambda endpoint: endpoint.node.address,
    ("Node", "Datacenter"): lambda endpoint: endpoint.node.datacenter,
}
_NUMBER: dict[tuple[str, ...], Callable[[Endpoint], int]] = {
    ("Service", "Port"): lambda endpoint: endpoint.port,
    ("Service", "Weights", "Passing"): lambda endpoint: endpoint.weight,
}
_TAGS = ("Service", "Tags")
_META: dict[tuple[str, ...], Callable[[Endpoint], Mapping[str, str]]] = {
    ("Service", "Meta"): lambda endpoint: endpoint.meta,
    ("Node", "Meta"): lambda endpoint: endpoint.node.meta,
}
_INTEGER = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]{1,16}|[0-9]{1,19})")


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter ready to use.  Two of the same text are equal."""

    text: str
    _predicate: Predicate = field(repr=False, compare=False)
    only_passing: bool = False
    """Whether endpoints with a warning are left out, too."""

    def __call__(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint belongs."""
        return not (self.only_passing and endpoint.warning) and self._predicate(endpoint)


def compile_filter(
    text: str, *, only_passing: bool = False, local: bool = False, path: str = "Filter"
) -> Filter:
    """Read a filter; the empty one keeps every endpoint, as in Consul.

    `local`: are its endpoints known from elsewhere than Consul?
    Raises ConfigError naming `path`, the text, and the column of what is wrong with it.
    """
    if not text:
        return Filter(text, _everything, only_passing)
    try:
        return Filter(text, _Compiler(text, local=local).compile(parse(text)), only_passing)
    except FilterError as error:
        expected = error.why.removeprefix("expected ")
        raise ConfigError(path, error.value, expected, hint=error.hint) from None


def _everything(_: Endpoint) -> bool:
    return True


class _Compiler:
    """Turns a tree into closures; everything that can be wrong is found here, not per endpoint."""

    def __init__(self, text: str, *, local: bool) -> None:
        self._text, self._local = text, local

    def compile(self, tree: Expression) -> Predicate:
        match tree:
            case Not(term):
                inner = self.compile(term)
                return lambda endpoint: not inner(endpoint)
            case And(terms):
                every = tuple(self.compile(term) for term in terms)
                return lambda endpoint: all(term(endpoint) for term in every)
            case Or(terms):
                some = tuple(self.compile(term) for term in terms)
                return lambda endpoint: any(term(endpoint) for term in some)
            case Match():
                question = self._question(tree)
                return (lambda endpoint: not question(endpoint)) if tree.negated else question

    def _question(self, match: Match) -> Predicate:
        selector = match.selector
        if self._local and (selector == _TAGS or selector[0] == "Node"):
            raise self._unknown(match)
        if selector in _TEXT:
            return self._about_text(match, _TEXT[selector])
        if selector in _NUMBER:
            return self._about_number(match, _NUMBER[selector])
        if selector == _TAGS:
            return self._about_list(match, lambda endpoint: endpoint.tags)
        if selector in _META:
            return self._about_list(match, _META[selector])
        if selector[:-1] in _META:
            key, read = selector[-1], _META[selector[:-1]]
            return self._about_text(match, lambda endpoint: read(endpoint).get(key))
        raise self._unknown(match)

    def _about_text(self, match: Match, read: Callable[[Endpoint], str | None]) -> Predicate:
        """A key that is missing equals nothing, contains nothing, matches nothing, is empty."""
        value = match.value
        match match.operator:
            case Operator.EQUAL:
                return lambda endpoint: read(endpoint) == value
            case Operator.EMPTY:
                return lambda endpoint: not read(endpoint)
            case Operator.IN:
                return lambda endpoint: (found := read(endpoint)) is not None and value in found
            case Operator.MATCHES:
                search = self._regex(match)
                return lambda endpoint: (found := read(endpoint)) is not None and search(found)

    def _about_number(self, match: Match, read: Callable[[Endpoint], int]) -> Predicate:
        if match.operator is not Operator.EQUAL:
            raise self._inapt(match, "a number")
        if not _INTEGER.fullmatch(match.value):
            raise FilterError(self._text, match.position, "a comparison with an integer")
        number = _integer(match.value)
        return lambda endpoint: read(endpoint) == number

    def _about_list(self, match: Match, read: Callable[[Endpoint], Collection[str]]) -> Predicate:
        """Of a map it is the keys that are asked for."""
        one = match.value
        match match.operator:
            case Operator.EMPTY:
                return lambda endpoint: not read(endpoint)
            case Operator.IN:
                return lambda endpoint: one in read(endpoint)
            case _:
                raise self._inapt(match, "a map" if match.selector in _META else "a list")

    def _unknown(self, match: Match) -> FilterError:
        known, name = LOCAL if self._local else CONSUL, ".".join(match.selector)
        return FilterError(self._text, match.position, f"{known} instead of {name}")

    def _inapt(self, match: Match, kind: str) -> FilterError:
        name, operator = ".".join(match.selector), match.operator.value
        expected = f"an operator for {kind} ({name} is one; `{operator}` does not fit)"
        return FilterError(self._text, match.position, expected)

    def _regex(self, match: Match) -> Callable[[str], bool]:
        """Linear time, and Go's syntax: Python's `re` has neither."""
        try:
            import re2  # noqa: PLC0415 - an extra few filters need
        except ImportError:
            hint = "pip install google-re2"
            raise FilterError(
                self._text, match.position, "a filter without `matches`", hint=hint
            ) from None
        options: Any = re2.Options()
        options.log_errors = False
        try:
            search = re2.compile(_bytes(match.value), options=options).search
        except re2.error as error:
            problem = f"a regular expression RE2 can read ({_message(error)})"
            raise FilterError(self._text, match.position, problem) from None
        return lambda found: search(_bytes(found)) is not None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _message(error: Exception) -> str:
    reason = error.args[0] if error.args else ""
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)


def _integer(text: str) -> int:
    """As Go's `strconv.ParseInt(text, 0, 64)`: hexadecimal after 0x, octal after 0."""
    digits = text.lstrip("+-")
    base = 16 if digits[:2] in {"0x", "0X"} else 8 if digits[0] == "0" else 10
    return int(digits, base) * (-1 if text[0] == "-" else 1)
