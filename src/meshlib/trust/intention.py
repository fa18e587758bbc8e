"""
Intentions: who may call a service, and what.  Pure.

The rules are Consul's.  Of the intentions that name the caller or `*`, and the service or `*`, the
one of the highest precedence decides, and it alone:

    source  destination  precedence
    exact   exact        9
    *       exact        8
    exact   *            6
    *       *            5

It says allow or deny, or it has permissions: the first of these that matches the request decides.
If none does, the *default* decides, never an intention of lower precedence
(Consul, agent/xds/rbac.go, `removeSourcePrecedence`).

Where this code has to choose, it refuses.  A caller whose identity names no service of ours is
let in only if both the intention for `*` and the default would, unless an intention names its
SPIFFE id, which takes the place of a name; a path that can be read in two
ways is refused by an intention that asks for paths; before anything is known nobody is let in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from meshlib.trust.permission import Permission, Request, TokenTest, all_pass
from meshlib.trust.spiffe import SCHEME

ANYBODY = "*"
"""Every service, as a source or a destination."""


@dataclass(frozen=True, slots=True)
class Intention:
    """One rule: allow or deny, or a list of permissions."""

    source: str
    destination: str
    allow: bool = False
    """Counts only without permissions."""
    permissions: tuple[Permission, ...] = ()
    token: TokenTest | None = None
    """Asked of every request that is to be allowed."""

    @property
    def precedence(self) -> int:
        """Consul's number; the highest decides."""
        if self.destination != ANYBODY:
            return 9 if self.source != ANYBODY else 8
        return 6 if self.source != ANYBODY else 5

    def concerns(self, source: str, destination: str) -> bool:
        """Whether it is about calls from one to the other."""
        return self.source in {ANYBODY, source} and self.destination in {ANYBODY, destination}

    def __str__(self) -> str:
        return f"{self.source} -> {self.destination}"


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a request is let in, and what decided so."""

    allowed: bool
    reason: str
    """A sentence for the operator; it is not for the caller."""
    intention: Intention | None = None
    """None: the default decided."""
    permission: int = 0
    """The number of the permission that decided, from 1; 0: none did."""
    tokenless: bool = False
    """Denied for want of a token of the end user: with one it may be allowed."""

    @property
    def rule(self) -> str:
        """The deciding rule in a few characters."""
        if self.intention is None:
            return "default"
        number = f" #{self.permission}" if self.permission else ""
        return f"{self.intention}{number}"


_UNTOLD = Decision(
    allowed=False, reason="the caller is of no service of this mesh, and rules about some exist"
)

_Rule: TypeAlias = Decision | Callable[[Request], Decision]


@dataclass(frozen=True, slots=True)
class IntentionSet:
    """All intentions about one destination, ready to be asked; equal rules make equal sets."""

    destination: str
    intentions: tuple[Intention, ...] = ()
    """Any order, but of two for the same pair the first counts; those about other destinations do
    not."""
    allow: bool = True
    """The default."""
    why: str = "no intention says otherwise"
    """Why the default is what it is."""
    strangers: bool = True
    """False: whoever is of no service of this mesh is not let in, as rules about some are known
    that cannot be told apart here."""
    _named: Mapping[tuple[str, str], Intention] = field(init=False, repr=False, compare=False)
    _ids: frozenset[str] = field(init=False, repr=False, compare=False)
    _by_source: dict[str, _Rule] = field(init=False, repr=False, compare=False)
    _anybody: _Rule = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        default = Decision(self.allow, f"the default is to {_word(allow=self.allow)}: {self.why}")
        named = {(each.source, each.destination): each for each in reversed(self.intentions)}
        anybody = _rule(_best(named, ANYBODY, self.destination), default)
        sources = {source for source, there in named if there in {ANYBODY, self.destination}}
        ids = {each for each in sources if each.startswith(SCHEME)}
        # whoever is only meant by a rule for everybody stays a stranger
        ids = {each for each in ids if _source(_best(named, each, self.destination)) == each}
        sources = {each for each in sources if each in ids or not each.startswith(SCHEME)}
        rules = {each: _rule(_best(named, each, self.destination), default) for each in sources}
        rules[""] = _for_strangers(anybody, default) if self.strangers else _UNTOLD
        object.__setattr__(self, "_named", named)
        object.__setattr__(self, "_ids", frozenset(ids))
        object.__setattr__(self, "_by_source", rules)
        object.__setattr__(self, "_anybody", anybody)

    def decide(self, source: str, request: Request) -> Decision:
        """Whether a request of the service `source` is let in.

        `source` is what `known_as` says: empty for somebody whose identity is none of a service of
        this mesh.
        """
        rule = self._rule_of(source)
        return rule if isinstance(rule, Decision) else rule(request)

    def settled(self, source: str) -> Decision | None:
        """What `decide` says to every request of `source`; None: it depends on the request."""
        rule = self._rule_of(source)
        return rule if isinstance(rule, Decision) else None

    def _rule_of(self, source: str) -> _Rule:
        rule = self._by_source.get(source)
        if rule is None:
            rule = self._by_source[""] if source.startswith(SCHEME) else self._anybody
        return rule

    def known_as(self, spiffe_id: str, service: str) -> str:
        """The source that a caller is: its id if an intention names that, and else `service`.

        `service` is empty for one that is none of this mesh.  Of intentions for both the one with
        the higher precedence counts, and with the same the one for the id.
        """
        if spiffe_id not in self._ids:
            return service
        by_id = _best(self._named, spiffe_id, self.destination)
        by_name = _best(self._named, service, self.destination) if service else None
        if by_id and by_name and by_name.precedence > by_id.precedence:
            return service
        return spiffe_id

    @classmethod
    def unknown(cls, destination: str) -> IntentionSet:
        """What holds before anything was heard of the intentions: nobody is let in."""
        return cls(destination, allow=False, why="the intentions are not known yet")


def _best(
    named: Mapping[tuple[str, str], Intention], source: str, destination: str
) -> Intention | None:
    """The intention of the highest precedence."""
    for there in (destination, ANYBODY):
        for here in (source, ANYBODY):
            found = named.get((here, there))
            if found is not None:
                return found
    return None


def _source(intention: Intention | None) -> str:
    return intention.source if intention else ""


def _rule(intention: Intention | None, default: Decision) -> _Rule:
    """What an intention answers: the same to everybody, or depending on the request."""
    if intention is None:
        return default
    if intention.permissions or intention.token is not None:
        return _Permissions(intention, default).decide
    verb = _word(allow=intention.allow)
    return Decision(intention.allow, f"the intention {intention} says {verb}", intention)


def _for_strangers(anybody: _Rule, default: Decision) -> _Rule:
    """Both the rule for `*` and the default have to let them in."""

    def decide(request: Request) -> Decision:
        found = anybody if isinstance(anybody, Decision) else anybody(request)
        return found if not found.allowed else default

    return decide


class _Permissions:
    """An intention that looks at the request; its answers are made beforehand."""

    __slots__ = (
        "_ambiguous",
        "_answers",
        "_default",
        "_intention",
        "_no_token",
        "_other_token",
    )

    def __init__(self, intention: Intention, default: Decision) -> None:
        self._intention = intention
        self._answers = tuple(
            (
                each.methods,
                None if each.path is None else each.path.passes,
                each.headers,
                each.token,
                _answer(intention, number, allow=each.allow),
                _tokenless(intention, number),
            )
            for number, each in enumerate(intention.permissions, 1)
        )
        none_matches = f"no permission of {intention} matches; {default.reason}"
        self._default = Decision(default.allowed, none_matches, intention)
        if not intention.permissions:
            self._default = _answer(intention, 0, allow=intention.allow)
        self._no_token = _tokenless(intention, 0)
        other = f"the token of the end user does not say what {intention} asks for"
        self._other_token = Decision(allowed=False, reason=other, intention=intention)
        why = f"the path can be read in more than one way, and {intention} asks for paths"
        by_path = any(each.path is not None for each in intention.permissions)
        self._ambiguous = (
            Decision(allowed=False, reason=why, intention=intention) if by_path else None
        )

    def decide(self, request: Request) -> Decision:
        """The first permission that matches decides."""
        if request.path is None and self._ambiguous is not None:
            return self._ambiguous
        found = self._matching(request)
        token = self._intention.token
        if found.allowed and token is not None and not token.passes(request.claims):
            return self._other_token if token.present(request.claims) else self._no_token
        return found

    def _matching(self, request: Request) -> Decision:
        # in one loop, without a call for each: a dozen permissions are to cost a microsecond or two
        method, path, claims = request.method, request.path or "", request.claims
        for methods, passes, headers, token, answer, tokenless in self._answers:
            if methods and method not in methods:
                continue
            if passes is not None and not passes(path):
                continue
            if headers and not all_pass(headers, request):
                continue
            if token is None or token.passes(claims):
                return answer
            if not token.present(claims):
                return tokenless
        return self._default


def _answer(intention: Intention, number: int, *, allow: bool) -> Decision:
    which = f"permission {number} of {intention}" if number else f"the intention {intention}"
    return Decision(allow, f"{which} says {_word(allow=allow)}", intention, number)


def _tokenless(intention: Intention, number: int) -> Decision:
    which = f"permission {number} of {intention}" if number else f"the intention {intention}"
    reason = f"{which} asks for a token of the end user"
    return Decision(
        allowed=False, reason=reason, intention=intention, permission=number, tokenless=True
    )


def _word(*, allow: bool) -> str:
    return "allow" if allow else "deny"
