"""What a request pays for identity and intentions: the re-check of its peer, and the decision."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median

from _common import Result, at_most, interleaved, name_of, run

from meshlib.config import ServingConfig
from meshlib.observe.events import Inbound
from meshlib.observe.quiet import Quiet
from meshlib.route.match import PathTest
from meshlib.route.text import How, Named, Text
from meshlib.serve.admission import Admission, Connection, Head
from meshlib.serve.authorize import Authorization
from meshlib.testing.ca import ThrowawayCA
from meshlib.trust import spiffe
from meshlib.trust.intention import Intention, IntentionSet
from meshlib.trust.permission import Permission
from meshlib.trust.verify import Peer
from meshlib.watch import Watch

INTENTIONS = 100
REQUESTS = 5_000
ROUNDS = 15
GET = frozenset({"GET"})
HEADERS = {"host": "backend", "x-tier": "gold"}


def permissions() -> tuple[Permission, ...]:
    """Ten, of which the last one matches: by paths, methods and a header."""
    others = (PathTest(Text(How.PREFIX, f"/other/{number}")) for number in range(9))
    tier = Named("x-tier", Text(How.EXACT, "gold"))
    mine = Permission(
        allow=True, path=PathTest(Text(How.REGEX, "/c.*")), methods=GET, headers=(tier,)
    )
    return (*(Permission(allow=True, path=path) for path in others), mine)


def intentions(*, looking: bool) -> IntentionSet:
    """A hundred, of which one is about this caller."""
    asked = permissions() if looking else ()
    rules = [Intention(f"caller-{number}", "backend", allow=False) for number in range(98)]
    mine = Intention("frontend", "backend", allow=True, permissions=asked)
    return IntentionSet("backend", (*rules, mine, Intention("*", "*", allow=False)), allow=False)


def asking(*, looking: bool, path: str = "/cities/Europe/Oslo") -> Callable[[], float]:
    """CPU seconds of one request's admission and authorization."""
    now = time.time()
    ca = ThrowawayCA("example.org", now=now)
    credentials = Watch(ca.credentials("backend"), ready=True)
    anchor = next(iter(credentials.value.bundles["example.org"].roots))
    peer = Peer(spiffe.service_id("example.org", "frontend"), b"", now + 3600, anchor)
    connection, head = Connection(peer), Head("1.1", path)
    admission = Admission(credentials, time.time)
    guard = Authorization(
        "backend",
        Watch(intentions(looking=looking), ready=True),
        Watch(ServingConfig(), ready=True),
        credentials,
        Quiet(),
    )
    inbound = Inbound("GET", path, HEADERS, connection.identity, ("127.0.0.1", 1))

    def ask() -> float:
        started = time.process_time()
        for _ in range(REQUESTS):
            if admission.refusal(head, connection) or guard.refusal(
                connection, inbound, HEADERS.get
            ):
                raise AssertionError
        return (time.process_time() - started) / REQUESTS

    return ask


def measure() -> Iterator[Result]:
    """See the module."""
    cases = {
        "by caller": asking(looking=False),
        "by ten permissions": asking(looking=True),
        "an encoded path": asking(looking=True, path="/cities/Europe/S%C3%A3o%20Jorge"),
    }
    costs = interleaved(cases, rounds=ROUNDS)
    for case, seconds in costs.items():
        what = f"re-check and {INTENTIONS} intentions: {case}"
        yield at_most(name_of(__file__), what, median(seconds) * 1e6, 5, "us")


if __name__ == "__main__":
    run(measure)
