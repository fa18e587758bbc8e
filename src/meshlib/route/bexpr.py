"""
Consul's filter language (go-bexpr): from text to a tree, and back.

    or-expression   = and-expression *( "or" and-expression )
    and-expression  = not-expression *( "and" not-expression )
    not-expression  = *"not" ( "(" or-expression ")" / match )
    match           = selector ( "==" / "!=" / [ "not" ] ( "contains" / "matches" ) ) value
                    / selector "is" [ "not" ] "empty"
                    / value [ "not" ] "in" selector
    selector        = word *( ".name" / "[" string "]" )
    value           = selector / number / string

It knows nothing of endpoints; `filter` does.  One thing go-bexpr can say and this cannot: the bare
word `not` as a value in front of `in`; quote it.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field
from typing import TypeAlias

from meshlib.route.bexpr_text import FilterError, Token, tokens

DEEPEST = 50
"""Parentheses within parentheses; far below what Python's own stack bears."""


class Operator(enum.Enum):
    """What a match asks.  `contains` is `in` the other way round."""

    EQUAL = "=="
    EMPTY = "is empty"
    IN = "in"
    MATCHES = "matches"


@dataclass(frozen=True, slots=True)
class Match:
    """One question about one selector."""

    selector: tuple[str, ...]
    operator: Operator
    value: str = ""
    negated: bool = False
    position: int = field(default=0, compare=False)
    """Where the selector stands in the text."""

    def __str__(self) -> str:
        selector, value, negation = _path(self.selector), _quoted(self.value), self.negated
        match self.operator:
            case Operator.EQUAL:
                return f"{selector} {'!=' if negation else '=='} {value}"
            case Operator.EMPTY:
                return f"{selector} is {'not ' if negation else ''}empty"
            case Operator.IN:
                return f"{value} {'not ' if negation else ''}in {selector}"
            case Operator.MATCHES:
                return f"{selector} {'not ' if negation else ''}matches {value}"


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    term: Expression

    def __str__(self) -> str:
        return f"not ({self.term})"


@dataclass(frozen=True, slots=True)
class And:
    """All of them."""

    terms: tuple[Expression, ...]

    def __str__(self) -> str:
        return " and ".join(f"({term})" for term in self.terms)


@dataclass(frozen=True, slots=True)
class Or:
    """Any of them."""

    terms: tuple[Expression, ...]

    def __str__(self) -> str:
        return " or ".join(f"({term})" for term in self.terms)


Expression: TypeAlias = Match | Not | And | Or


def parse(text: str) -> Expression:
    """The tree of a filter.  Raises FilterError, which points at the column."""
    parser = _Parser(text)
    tree = parser.disjunction(0)
    parser.take("end", "`and`, `or` or the end")
    return tree


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens(text)
        self._next = 0

    @property
    def _token(self) -> Token:
        return self._tokens[self._next]

    def take(self, kind: str, expected: str) -> Token:
        token = self._token
        if token.kind != kind:
            raise self._unexpected(expected)
        self._next += 1
        return token

    def _unexpected(self, expected: str) -> FilterError:
        return FilterError(self._text, self._token.position, expected)

    def _symbol(self, text: str) -> bool:
        found = self._token.kind == "symbol" and self._token.text == text
        self._next += found
        return found

    def _keyword(self, text: str, *, last: bool = False) -> bool:
        """Step over a keyword, if there is one.  The last one of a match needs no blank after."""
        token = self._token
        spaced = token.blank_before and (last or token.blank_after)
        found = token.kind == "word" and token.text == text and spaced
        self._next += found
        return found

    def disjunction(self, depth: int) -> Expression:
        terms = [self._conjunction(depth)]
        while self._keyword("or"):
            terms.append(self._conjunction(depth))
        return terms[0] if len(terms) == 1 else Or(tuple(terms))

    def _conjunction(self, depth: int) -> Expression:
        terms = [self._negation(depth)]
        while self._keyword("and"):
            terms.append(self._negation(depth))
        return terms[0] if len(terms) == 1 else And(tuple(terms))

    def _negation(self, depth: int) -> Expression:
        negated = False
        while self._token.text == "not" and self._token.blank_after:
            self._next += 1
            negated = not negated
        term = self._group(depth) if self._symbol("(") else self._match()
        return Not(term) if negated else term

    def _group(self, depth: int) -> Expression:
        if depth == DEEPEST:
            raise self._unexpected(f"no more than {DEEPEST} parentheses around this")
        tree = self.disjunction(depth + 1)
        if not self._symbol(")"):
            raise self._unexpected("`and`, `or` or a closing parenthesis")
        return tree

    def _match(self) -> Match:
        if self._token.kind != "word":
            return self._value_first(self._value())
        start, selector = self._token.position, self._selector()
        if self._keyword("is"):
            return self._emptiness(selector, start)
        if self._symbol("=="):
            return Match(selector, Operator.EQUAL, self._value(), position=start)
        if self._symbol("!="):
            return Match(selector, Operator.EQUAL, self._value(), negated=True, position=start)
        return self._worded(selector, start)

    def _worded(self, selector: tuple[str, ...], start: int) -> Match:
        negated = self._keyword("not")
        if self._keyword("contains"):
            return Match(selector, Operator.IN, self._value(), negated, start)
        if self._keyword("matches"):
            return Match(selector, Operator.MATCHES, self._value(), negated, start)
        return self._value_first(".".join(selector), negated=negated)

    def _value_first(self, value: str, *, negated: bool = False) -> Match:
        negated = negated or self._keyword("not")
        if not self._keyword("in"):
            raise self._unexpected("an operator (==, !=, in, contains, matches, is empty)")
        start = self._token.position
        return Match(self._selector(), Operator.IN, value, negated, start)

    def _emptiness(self, selector: tuple[str, ...], start: int) -> Match:
        negated = self._keyword("not")
        if not self._keyword("empty", last=True):
            raise self._unexpected("`empty`")
        return Match(selector, Operator.EMPTY, "", negated, start)

    def _selector(self) -> tuple[str, ...]:
        path = [self.take("word", "a selector such as Service.Meta.version").value]
        while not self._token.blank_before:
            if self._token.kind == "step":
                path.append(self.take("step", "a name").value[1:])
            elif self._symbol("["):
                path.append(self._index())
            else:
                break
        return tuple(path)

    def _index(self) -> str:
        key = self.take("string", "a quoted key").value
        if not self._symbol("]"):
            raise self._unexpected("a closing bracket")
        return key

    def _value(self) -> str:
        if self._token.kind == "word":
            return ".".join(self._selector())
        if self._token.kind not in {"number", "string"}:
            raise self._unexpected("a value")
        self._next += 1
        return self._tokens[self._next - 1].value


_PLAIN = re.compile(r"[a-zA-Z][a-zA-Z0-9_/]*|[0-9]+")


def _path(selector: tuple[str, ...]) -> str:
    first, *rest = selector
    return first + "".join(f".{s}" if _PLAIN.fullmatch(s) else f"[{_quoted(s)}]" for s in rest)


def _quoted(value: str) -> str:
    """As go-bexpr reads it back; a double quote has no escape but its number."""
    escaped = value.replace("\\", r"\\").replace('"', r"\x22").replace("\n", r"\n")
    return f'"{escaped}"'
