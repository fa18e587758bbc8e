"""
The words everything else is written in.

No I/O, no clock, no behaviour beyond small derivations.  What is compared is frozen; what one
request carries (`Call`, `Attempt`, `Reply`) is slotted, built once and never copied: every field
names the one layer that writes it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias

IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""RFC 9110 section 9.2.2."""

NO_HEADERS: Mapping[str, str] = MappingProxyType({})

HTTP, GRPC = PROTOCOLS = "http", "grpc"
"""What the meta `protocol` of an instance may say; gRPC has a port of its own."""


@dataclass(frozen=True, slots=True)
class Locality:
    """Where an endpoint stands; the empty string means "not said"."""

    region: str = ""
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """The machine that endpoints run on, as Consul knows it; shared by all of them."""

    name: str = ""
    address: str = ""
    datacenter: str = ""
    meta: Mapping[str, str] = field(default_factory=lambda: NO_HEADERS, hash=False)


NO_NODE = Node()
"""Of an endpoint that is known from elsewhere than Consul."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One network address that serves a service."""

    id: str
    host: str
    port: int
    weight: int = 1
    locality: Locality = Locality()
    meta: Mapping[str, str] = field(default_factory=lambda: NO_HEADERS, hash=False)
    """Free words about the instance; `version` and `protocol` are the ones everybody reads."""
    tags: tuple[str, ...] = ()
    node: Node = NO_NODE
    warning: bool = False
    """Whether it works, but not as it should: Consul's state between passing and critical."""

    @property
    def version(self) -> str:
        """The version the instance registered, or the empty string."""
        return self.meta.get("version", "")

    def speaks(self, protocol: str) -> bool:
        """Whether it may be called by that protocol: it has not said that it speaks another."""
        said = self.meta.get("protocol")
        return said == protocol or said not in PROTOCOLS

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return self.host, self.port

    @property
    def authority(self) -> str:
        """Host and port as a URL has them: an IPv6 address stands in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.id}@{self.authority}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that discovery knew about one service at one moment.

    `index` orders snapshots of one source; it takes no part in equality, so that a write that
    changed nothing wakes nobody.
    """

    service: str
    endpoints: tuple[Endpoint, ...]
    index: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Pending:
    """Nobody has answered yet."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The registry knows the service; its snapshot may still be empty."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Neg:
    """The registry answered, and knows no such service."""

    known: tuple[str, ...] = ()
    """The services it does know, for the error message."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The registry could not be asked, and nothing good is remembered."""

    cause: str


Resolution: TypeAlias = Pending | Bound | Neg | Failed


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is at the other end, proven by its certificate."""

    spiffe_id: str
    service: str = ""
    """The service named by the id, when it has meshlib's or Consul's form and is of our domain."""

    def __str__(self) -> str:
        return self.spiffe_id


class Verdict(enum.Enum):
    """What a finished attempt means for the policies."""

    SUCCESS = "success"
    FAILURE = "failure"
    """It failed, and doing it again might change something twice."""
    RETRYABLE = "retryable"
    """It failed, and doing it again is known to be safe."""
    IGNORED = "ignored"
    """It says nothing about the endpoint: the caller went away."""

    # Plain attributes: every request asks, and looking up a member of an enum takes ten times as
    # long as looking at one (Python 3.11).
    def __init__(self, word: str) -> None:
        self.word = word
        self.succeeded = word == "success"
        self.failed = word in {"failure", "retryable"}
        """Whether the endpoint is to blame."""
        self.ignored = word == "ignored"


@dataclass(frozen=True, slots=True)
class Target:
    """What a route chose: a service, or one named subset of it."""

    service: str
    subset: str = ""
    datacenter: str = ""
    """Where, if that is not where we are."""

    @property
    def upstream(self) -> str:
        """The name of the upstream it is in: subsets share one, datacentres do not."""
        return f"{self.service}@{self.datacenter}" if self.datacenter else self.service

    def __str__(self) -> str:
        return f"{self.subset}.{self.upstream}" if self.subset else self.upstream


class Body(Protocol):
    """A request body, as the retry layer sees it."""

    @property
    def replayable(self) -> bool:
        """Whether one more attempt could send the same bytes.  May turn false, never back."""

    @property
    def whole(self) -> bool:
        """Whether all bytes are there, so that two attempts could send them side by side."""


class EmptyBody:
    """No bytes: always replayable."""

    replayable = True
    whole = True


EMPTY_BODY = EmptyBody()


@dataclass(frozen=True, slots=True)
class NewCookie:
    """A cookie the caller did not have, made so that its next call has it."""

    name: str
    value: str
    path: str = ""
    max_age: int = 0
    """Seconds it is kept; 0: until the caller's session ends."""

    def __str__(self) -> str:
        """The value of a Set-Cookie header (RFC 6265), in the form Envoy gives it."""
        age = f"; Max-Age={self.max_age}" if self.max_age else ""
        path = f"; Path={self.path}" if self.path else ""
        return f'{self.name}="{self.value}"{age}{path}; HttpOnly'


@dataclass(slots=True, eq=False)
class Call:
    """One logical request: what the user asked for, however many attempts it takes."""

    # the face
    service: str
    method: str = "GET"
    path: str = "/"
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=lambda: NO_HEADERS)
    """Case-insensitive to look up."""
    body: Body = EMPTY_BODY
    timeout: float | None = None
    """Seconds the user gave the whole call; None leaves it to the policy, inf means never."""
    connect_timeout: float = inf
    """Seconds the user gave one connection; the policy's own limit holds as well."""
    read_timeout: float = inf
    """Seconds of silence one attempt may last."""
    native: Any = None
    """The face's own request object."""
    source: str = ""
    """The identity on whose behalf the call is made, where the face knows one: a hash key."""
    repeatable: bool = False
    """Whether the user said that it may be carried out twice, whatever its method."""
    protocol: str = HTTP
    """What an endpoint must speak, where some of them speak something else."""
    # observe
    trace: Any = None
    # deadline
    deadline: float = inf
    """Absolute, on the runtime's clock; a route with a time of its own replaces it."""
    context: Any = None
    """The request being served that this call is made for, if there is one."""
    # route
    target: Target | None = None
    route: str = ""
    """The name of the route that was taken."""
    rules: Any = None
    """What that route does besides leading to the target; None: nothing."""
    sent_path: str | None = None
    """The path on the wire, where the route rewrites it."""
    sent_headers: Mapping[str, str] | None = None
    """The headers on the wire, where the route changes them: a copy."""
    silence: float = inf
    """Seconds of silence the route lets an attempt last; `read_timeout` holds as well."""
    # fallback
    fell_back: str = ""
    """The name of the error that a fallback stood in for."""
    # limit
    held: Any = None
    """What the call takes of the limits, if there are any."""
    # retry, and hedge
    attempts: int = 0
    credit: Any = None
    """What its extra attempts are drawn from, in common with the whole tree of calls."""
    stopped: str = ""
    """Why a failed attempt was not followed by another; empty when it was, or none failed."""
    stopped_by: str = ""
    """The same in one word: attempts, body, pushback, deadline, bulkhead, credit, budget, peer."""
    extra: int = 0
    """Attempts that were drawn from the credit: what the call costs servers besides the first."""
    # balance
    tried: tuple[Endpoint, ...] = ()
    """Endpoints already picked for this call, in order."""
    set_cookies: tuple[NewCookie, ...] = ()
    """Made as hash keys; they go to the caller with the reply."""

    @property
    def idempotent(self) -> bool:
        """Whether sending it twice means the same as sending it once."""
        return (
            self.repeatable
            or self.method in IDEMPOTENT_METHODS
            or "idempotency-key" in self.headers
        )


@dataclass(slots=True, eq=False)
class Attempt:
    """One try of a call at one endpoint."""

    # retry
    call: Call
    number: int = 1
    elsewhere: bool = False
    """Whether another locality than those already tried would be welcome."""
    # balance
    endpoint: Endpoint | None = None
    target: Target | None = None
    """Where it goes instead of the call's target, which has nobody who works."""
    # attempt
    deadline: float = inf
    """Absolute; the earlier of the call's deadline and the per-try timeout."""
    connect_timeout: float = inf
    """Seconds for the connection and its handshake."""
    headers: dict[str, str] = field(default_factory=dict)
    """Headers this attempt adds on the wire."""
    verdict: Verdict = Verdict.IGNORED
    """What the outcome means; a cancelled attempt leaves it as it was born: neutral."""
    seconds: float | None = None
    """What it took; None while it runs, or if that says nothing about the endpoint."""
    excused: bool = False
    """Whether this process, not the endpoint, may be why it timed out."""
    penalty: float | None = None
    """If the endpoint failed or refused: for how many seconds it asked to be left alone, or 0."""


class Reply:
    """What came back.  It ends exactly once: read to the end, discarded, or broken.

    An engine that still has bytes to deliver overrides `discard` and calls `close` when the last
    one is out; a reply with all its `content` is closed from birth.
    """

    __slots__ = (
        "_closers",
        "closed",
        "content",
        "endpoint",
        "headers",
        "raw_headers",
        "reason",
        "status",
        "upgraded",
    )

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str] = NO_HEADERS,
        raw_headers: Sequence[tuple[bytes, bytes]] = (),
        content: bytes | None = b"",
    ) -> None:
        self.status = status
        self.headers = headers
        """Case-insensitive to look up."""
        self.raw_headers = raw_headers
        """As received: order, case and repetition kept."""
        self.content = content
        """The whole body, or None while it is still to be streamed."""
        self.reason = ""
        """The reason phrase, where the protocol has one."""
        self.endpoint: Endpoint | None = None
        self.upgraded: Any = None
        """Of a 101: the connection, which carries bytes both ways from now on."""
        self.closed = content is not None
        self._closers: list[Callable[[BaseException | None], None]] = []

    def on_close(self, report: Callable[[BaseException | None], None]) -> None:
        """Have `report` called once with None, or with what broke the body; at once if closed."""
        if self.closed:
            report(None)
        else:
            self._closers.append(report)

    def close(self, error: BaseException | None = None) -> None:
        """Say that the body has ended.  Later calls do nothing."""
        if self.closed:
            return
        self.closed = True
        for report in self._closers:
            report(error)

    async def discard(self) -> None:
        """Throw the rest of the body away."""
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<Reply {self.status} from {self.endpoint} {state}>"
