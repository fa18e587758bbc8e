"""
`service-intentions` in Consul's form: who may call the service it is named after.

    {"Sources": [{"Name": "frontend", "Action": "allow"},
                 {"Name": "reports", "Permissions": [
                     {"Action": "allow", "HTTP": {"PathPrefix": "/items/", "Methods": ["GET"]}}]},
                 {"Name": "*", "Action": "deny"}]}

The document of the name `*` is about all services.  What of Consul's form has no meaning here
(other namespaces, partitions, peers) is refused: a rule that is left out of account would let
somebody in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import unquote

import msgspec

from meshlib.control.decoding import Fields, read
from meshlib.control.entry import Entry
from meshlib.control.http_match import AnyTest, HTTPMatch
from meshlib.errors import ConfigError
from meshlib.route.text import Named
from meshlib.trust import permission as ask
from meshlib.trust.intention import ANYBODY, Intention
from meshlib.trust.spiffe import SCHEME, parse

KIND = "service-intentions"

Action = Literal["allow", "deny"]


class PermissionHTTP(Fields, frozen=True):
    """What a permission asks of a request; all that is said has to hold."""

    path_exact: str = ""
    path_prefix: str = ""
    """Of characters: `/api` takes `/apis` too."""
    path_regex: str = ""
    """RE2, and it matches the whole path."""
    header: tuple[AnyTest, ...] = ()
    methods: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.match().compiled().everything:
            return
        if not self.path_prefix:
            raise ConfigError("", {}, "a path, a header or a method to ask for")

    def match(self) -> HTTPMatch:
        """The same in the words of a route.  Raises ConfigError."""
        return HTTPMatch(
            # decoded, as the path of a request is before it is compared (trust.paths)
            path_exact=unquote(self.path_exact),
            path_prefix=unquote(self.path_prefix),
            path_regex=self.path_regex,
            header=self.header,
            methods=self.methods,
        )


class ClaimVerification(Fields, frozen=True):
    """One claim a token must have."""

    path: tuple[str, ...]
    value: str


class TokenProvider(Fields, frozen=True):
    """Who may have issued it."""

    name: str
    verify_claims: tuple[ClaimVerification, ...] = ()


class TokenRequirement(Fields, frozen=True):
    """A token of the end user, from one of these."""

    providers: tuple[TokenProvider, ...]

    def test(self) -> ask.TokenTest:
        """The same, ready to be asked."""
        return ask.TokenTest(tuple((each.name, _claims(each)) for each in self.providers))


class IntentionPermission(Fields, frozen=True):
    """What is allowed, or denied."""

    action: Action
    http: PermissionHTTP | None = msgspec.field(default=None, name="HTTP")
    jwt: TokenRequirement | None = msgspec.field(default=None, name="JWT")

    def __post_init__(self) -> None:
        if self.http is None and self.jwt is None:
            raise ConfigError("HTTP", None, "what it is about")

    def permission(self) -> ask.Permission:
        """The same, ready to be asked."""
        match = (self.http or PermissionHTTP(path_prefix="/")).match().compiled()
        return ask.Permission(
            self.action == "allow",
            match.path if self.http else None,
            match.methods,
            tuple(Named(each.name.lower(), each.test, each.invert) for each in match.headers),
            self.jwt.test() if self.jwt else None,
        )


class SourceIntention(Fields, frozen=True):
    """One caller, and what it may."""

    name: str
    """A service, `*`, or the SPIFFE id of one of elsewhere."""
    action: Action | None = None
    permissions: tuple[IntentionPermission, ...] = ()
    description: str = ""
    type: Literal["consul"] = "consul"
    precedence: int = 0
    """Consul writes it; it follows from the names, and is not read."""
    namespace: str = ""
    partition: str = ""
    peer: str = ""
    sameness_group: str = ""

    def __post_init__(self) -> None:
        check_source_name(self.name, path="Name")
        for field in ("namespace", "partition"):
            if (value := getattr(self, field)) not in {"", "default"}:
                raise ConfigError(field.capitalize(), value, "nothing, or default")
        for field, value in (("Peer", self.peer), ("SamenessGroup", self.sameness_group)):
            if value:
                raise ConfigError(field, value, "nothing: callers are services of this mesh")
        if bool(self.action) == bool(self.permissions):
            raise ConfigError("Action", self.action, "either allow or deny, or Permissions")


class ServiceIntentions(Entry, frozen=True, kw_only=True):
    """Who may call one service, or with the name `*` any service."""

    sources: tuple[SourceIntention, ...]
    jwt: TokenRequirement | None = msgspec.field(default=None, name="JWT")
    """Asked of every request."""

    def __post_init__(self) -> None:
        super().__post_init__()
        seen: set[str] = set()
        for number, source in enumerate(self.sources):
            if source.name in seen:
                raise ConfigError(f"Sources[{number}].Name", source.name, "every source once")
            seen.add(source.name)

    def intentions(self, destination: str) -> tuple[Intention, ...]:
        """The intentions it holds."""
        return tuple(self._intention(each, destination) for each in self.sources)

    def check_wildcard(self, destination: str, *, path: str) -> None:
        """Raise ConfigError for permissions of `*`: what a path means is up to one service.

        That is Consul's rule too.
        """
        for number, source in enumerate(self.sources):
            if destination == ANYBODY and source.permissions:
                where = f"{path}.Sources[{number}].Permissions"
                raise ConfigError(where, len(source.permissions), "none in the document named *")

    def _intention(self, source: SourceIntention, destination: str) -> Intention:
        return Intention(
            source.name,
            destination,
            source.action == "allow",
            tuple(each.permission() for each in source.permissions),
            self.jwt.test() if self.jwt else None,
        )


def check_source_name(name: str, *, path: str) -> None:
    """Raise ConfigError unless `name` is the name of a service, `*`, or a workload's SPIFFE id.

    Consul's names may hold capitals, dots and underscores, so only what means something is refused.
    """
    if name.startswith(SCHEME):
        if not parse(name).path:
            raise ConfigError(path, name, "the SPIFFE id of a workload, which has a path")
    elif name != ANYBODY and (not name or ANYBODY in name or "/" in name):
        raise ConfigError(path, name, "the name of a service, or * for all of them")


def decode_intentions(
    destination: str, body: Mapping[str, Any], *, path: str
) -> tuple[Intention, ...]:
    """Intentions from a document's body, tokens included.  Raises ConfigError below `path`."""
    entry = read(ServiceIntentions, body, path=path)
    entry.check_wildcard(destination, path=path)
    return entry.intentions(destination)


def _claims(provider: TokenProvider) -> tuple[ask.ClaimTest, ...]:
    return tuple(ask.ClaimTest(each.path, each.value) for each in provider.verify_claims)
