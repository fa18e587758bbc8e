"""
Identities from a SPIFFE Workload API: what SPIRE's agent, or another, says that this process is.

One stream (`FetchX509SVID`) brings certificates, keys and roots, also those of federated trust
domains, and brings them anew before they end.  Keys stay in memory.  What fails later changes
nothing: the last good certificate serves until its time is over.

The stream is gRPC, spoken through h2 (see `rpc`): grpcio does not survive the fork of a pre-fork
server, and the `spiffe` package is built on it, with seven dependencies.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from meshlib.control.local.alarm import Alarm, Event, nobody_listens, overdue_at, words
from meshlib.control.local.atfork import ForkLock
from meshlib.control.spiffe.address import parse_address
from meshlib.control.spiffe.follow import Follower, Misused
from meshlib.control.spiffe.messages import Unreadable, decode
from meshlib.control.spiffe.svid import Answer, SvidRefused, choose, judge
from meshlib.errors import IdentityUnavailable
from meshlib.runtime import Clock, Rng, new_rng, real_clock
from meshlib.trust import spiffe
from meshlib.trust.bundle import Credentials, LeafCert
from meshlib.watch import Watch

FIRST = 4.0
"""Seconds the first credentials may take: whoever starts is told within five what is wrong."""
RANK = 3


class WorkloadIdentity:
    """An `IdentitySource` on the Workload API at `address`, or where SPIFFE_ENDPOINT_SOCKET says.

    `hint` is that of the identity to take if there are several.  `ids` says what services prove
    whose ids cannot be told from our own: those with another path, or of a federated domain.
    `federates_with` names the foreign trust domains to trust, None: all that the agent hands out.
    `now` gives Unix time, `patience` is how long the first credentials may take, in seconds.
    Nothing is opened before the first use.  Raises ConfigError.
    """

    oldest_tls = ssl.TLSVersion.TLSv1_2
    """Envoy and go-spiffe dial with TLS 1.2 as well."""

    def __init__(  # noqa: PLR0913 - all have defaults
        self,
        address: str = "",
        *,
        hint: str = "",
        ids: Mapping[str, str] | None = None,
        federates_with: Collection[str] | None = None,
        event: Event = nobody_listens,
        now: Clock = time.time,
        rng: Rng | None = None,
        patience: float = FIRST,
    ) -> None:
        self.address = parse_address(address, os.environ)
        self._ids = {name: str(spiffe.parse(each)) for name, each in (ids or {}).items()}
        self._federates = federates_with
        for domain in federates_with or ():
            spiffe.SpiffeId(domain)
        self._hint, self._event, self._now, self._patience = hint, event, now, patience
        self._alarm = Alarm(event, "workload-api")
        self._answer: Answer | None = None
        self._fault: IdentityUnavailable | None = None
        self._watches: dict[str, Watch[Credentials]] = {}
        self._news: set[threading.Event] = set()
        self._closed = False
        self._lock = ForkLock(RANK)
        self._follower = Follower(
            self.address,
            heard=self._heard,
            failed=self._failed,
            idle=self._look_at_the_clock,
            rng=rng or new_rng(),
        )

    def credentials(self, service: str) -> Watch[Credentials]:
        """What to speak as `service` with; the same watch for the same name.

        The first value is there when this returns.  Raises IdentityUnavailable within five seconds.
        """
        with self._lock:
            watch = self._watches.get(service)
            if watch is None:
                nothing = Credentials(LeafCert("", b"", b"", 0.0, 0.0), {})
                watch = self._watches[service] = Watch(nothing)
                self._install(service)
        if not watch.ready:
            self._await(lambda: watch.ready, service)
        return watch

    def spiffe_id(self, service: str, datacenter: str = "") -> str:
        """What instances of `service` prove.  Raises IdentityUnavailable, ConfigError."""
        if service in self._ids:
            return self._ids[service]
        if self._answer is None:
            self._await(lambda: self._answer is not None, service)
        own = spiffe.parse(self._own())
        if not spiffe.service_of(own):
            what, why = f"the id of {service} is not known", f"{own} does not show how ids are made"
            hint = f"say ids={{{service!r}: 'spiffe://...'}}"
            raise IdentityUnavailable(what, why=why, hint=hint)
        return str(spiffe.neighbour(own, service, datacenter))

    def server_name(self, service: str, subset: str = "", datacenter: str = "") -> str:
        """What a client asks a server for (SNI).  Raises IdentityUnavailable, ConfigError."""
        return spiffe.server_name(spiffe.parse(self.spiffe_id(service, datacenter)), subset)

    def close(self) -> None:
        """Leave the stream; the watches keep their last value."""
        self._closed = True
        self._follower.stop()
        self._notify()

    def _own(self) -> str:
        for watch in tuple(self._watches.values()):
            if watch.ready:
                return watch.value.leaf.spiffe_id
        answer = self._answer
        return answer.identities[0].leaf.spiffe_id if answer else ""

    # ---- the first value

    def _await(self, ready: Callable[[], bool], service: str) -> None:
        news, until = threading.Event(), real_clock() + self._patience
        self._news.add(news)
        try:
            self._follower.start()
            while not ready():
                news.clear()
                left = until - real_clock()
                if self._closed or left <= 0 or isinstance(self._fault, Misused):
                    raise self._unavailable(service)
                if not ready():
                    news.wait(left)
        finally:
            self._news.discard(news)

    def _unavailable(self, service: str) -> IdentityUnavailable:
        what, fault = f"no certificate for {service}", self._fault
        if self._closed:
            return IdentityUnavailable(what, why="the identity source is closed")
        if fault is None:
            why = f"the Workload API at {self.address} did not answer within {self._patience:g} s"
            return IdentityUnavailable(what, why=why, hint="see the log of the agent")
        return IdentityUnavailable(what, why=words(fault), hint=fault.hint)

    # ---- what is heard, on the thread of the follower

    def _heard(self, message: bytes) -> bool:
        try:
            answer = judge(decode(message), self._now(), self._federates)
        except Unreadable as exc:
            what = "the Workload API sent something unreadable"
            self._failed(IdentityUnavailable(what, why=str(exc)))
            return False
        except SvidRefused as fault:
            self._failed(fault)
            return False
        self._fault = None
        for text in answer.refused:
            self._event("roots-refused", "workload-api", text)
        with self._lock:
            self._answer = answer
            fresh = [self._install(service) for service in self._watches]
        if all(fresh):
            self._alarm.works()
        self._notify()
        return True

    def _install(self, service: str) -> bool:
        """Make credentials of the answer; the last good ones stay if it has none for `service`."""
        answer, watch = self._answer, self._watches[service]
        if answer is None:
            return False
        try:
            found = choose(answer, service, hint=self._hint, wanted=self._ids.get(service, ""))
        except SvidRefused as fault:
            self._fault = fault
            return False
        bundles = {**answer.federated, found.own.trust_domain: found.own}
        old = watch.value
        if (found.leaf, bundles) != (old.leaf, old.bundles) or old.trouble:
            watch.set(Credentials(found.leaf, bundles, old.generation + 1))
        return True

    def _failed(self, fault: IdentityUnavailable) -> None:
        self._fault = fault
        self._look_at_the_clock()
        self._notify()

    def _look_at_the_clock(self) -> None:
        """Tell of leaves that are not renewed; calls with one that is over shall say why."""
        ready = {name: each for name, each in tuple(self._watches.items()) if each.ready}
        now, fault = self._now(), self._fault
        silent = IdentityUnavailable("the Workload API has sent no newer certificate")
        if fault or any(now > overdue_at(each.value.leaf) for each in ready.values()):
            leaves = [(name, each.value.leaf) for name, each in ready.items()]
            self._alarm.failed(fault or silent, leaves, now)
        for watch in ready.values():
            self._explain(watch, fault or silent, now)

    def _explain(self, watch: Watch[Credentials], fault: IdentityUnavailable, now: float) -> None:
        with self._lock:
            old, why = watch.value, words(fault)
            if now > old.leaf.not_after and why != old.trouble:
                generation = old.generation + 1
                watch.set(replace(old, generation=generation, trouble=why, remedy=fault.hint))

    def _notify(self) -> None:
        for news in tuple(self._news):
            news.set()

    def __repr__(self) -> str:
        return f"<WorkloadIdentity {self.address} {sorted(self._watches)}>"
