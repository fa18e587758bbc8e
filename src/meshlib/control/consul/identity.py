"""
Identities from Consul's CA: one watch of the roots, and one of the leaf of each service.

The key of a leaf is made by the agent, and stays in memory here.  What fails later changes
nothing: the last good certificate serves until its time is over.  This is one `IdentitySource`
among others, as Consul means to replace the endpoints it uses (docs of `v1/agent/connect/ca`,
deprecated since 1.16).
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable

from meshlib.control.consul.faults import (
    BadRequest,
    ConnectDisabled,
    ConsulFault,
    NotAllowed,
    NotThere,
    RateLimited,
)
from meshlib.control.consul.follow import Follower
from meshlib.control.consul.http import Answer, ConsulClient
from meshlib.control.consul.leaf import LeafFault, LeafRefused, read_roots
from meshlib.control.consul.speaker import RANK, Speaker, World, in_short
from meshlib.control.local.atfork import ForkLock
from meshlib.errors import IdentityUnavailable
from meshlib.runtime import Clock, Rng, new_rng, real_clock
from meshlib.trust import spiffe
from meshlib.trust.bundle import Credentials, TrustBundle
from meshlib.trust.spiffe import SpiffeId
from meshlib.watch import Watch

ROOTS = "/v1/agent/connect/ca/roots"
FIRST = 4.0
"""Seconds the first credentials may take: whoever starts is told within five what is wrong."""
QUEUE = 30.0
"""Seconds while Consul signs for others first (CSRMaxPerSecond): a fleet that starts all at once
gets its turn, and a process that gave up would only come back."""

Event = Callable[[str, str, str], None]
"""As `Listener.control_event`: kind, subject, text."""

_FINAL = (NotAllowed, ConnectDisabled, BadRequest, NotThere, LeafFault)
"""What waiting does not mend."""
_NOBODY = SpiffeId("nowhere", "/ns/default/dc/nowhere/svc/nobody")


def _unheard(kind: str, subject: str, text: str) -> None:
    del kind, subject, text


class ConsulIdentity:
    """An `IdentitySource` on the agent's CA endpoints.

    `now` gives Unix time, which certificates are measured on.  Nothing is asked and no thread runs
    before the first `credentials`; after a fork the child follows for itself.
    """

    oldest_tls = ssl.TLSVersion.TLSv1_2
    """Envoy dials with TLS 1.2 unless it is told otherwise."""

    def __init__(
        self,
        client: ConsulClient,
        *,
        event: Event = _unheard,
        now: Clock = time.time,
        clock: Clock = real_clock,
        rng: Rng | None = None,
    ) -> None:
        self._client, self._clock = client, clock
        self._world = World(event, now, clock, rng or new_rng(), self._notify)
        self._bundle: Watch[TrustBundle | None] = Watch(None)
        self._speakers: dict[str, Speaker] = {}
        self._place: SpiffeId | None = None
        self._waiting: set[threading.Event] = set()
        self._closed = False
        self._lock = ForkLock(RANK)
        self._roots = Follower(
            client,
            ROOTS,
            heard=self._heard_roots,
            failed=lambda fault: self._world.lost("roots", fault),
            clock=clock,
            rng=self._world.rng,
        )

    def credentials(self, service: str) -> Watch[Credentials]:
        """The leaf of `service` and the roots to trust; the same watch for the same name.

        The first value is there when this returns.  Raises IdentityUnavailable within five seconds,
        or when Consul has not had its turn for this process within thirty; ConfigError for a name
        that no service can have.
        """
        spiffe.neighbour(_NOBODY, service)
        speaker = self._speaker(service)
        if not speaker.watch.ready:
            try:
                self._await_first(speaker)
            except BaseException:
                self._drop(speaker)
                raise
        return speaker.watch

    def spiffe_id(self, service: str, datacenter: str = "") -> str:
        """The id that instances of `service` prove, here or in another datacentre.

        Raises IdentityUnavailable, ConfigError.
        """
        return str(spiffe.neighbour(self._own(), service, datacenter))

    def server_name(self, service: str, subset: str = "", datacenter: str = "") -> str:
        """What a client asks a server for (SNI).  Raises IdentityUnavailable, ConfigError."""
        return spiffe.server_name(spiffe.neighbour(self._own(), service, datacenter), subset)

    def close(self) -> None:
        """Stop following; the watches keep their last value."""
        with self._lock:
            self._closed = True
            speakers, self._speakers = list(self._speakers.values()), {}
        self._notify()
        self._roots.stop()
        for each in speakers:
            each.stop()

    # ---- the first value

    def _speaker(self, service: str) -> Speaker:
        with self._lock:
            if self._closed:
                raise IdentityUnavailable(f"no certificate for {service}", why="the mesh is closed")
            speaker = self._speakers.get(service)
            if speaker is None:
                speaker = Speaker(self._client, service, self._bundle, self._world)
                self._speakers[service] = speaker
        # outside of the lock, which followers take while they hold their own
        self._roots.start()
        speaker.start()
        return speaker

    def _drop(self, speaker: Speaker) -> None:
        """Nobody waits for it any more; who asks again begins anew."""
        with self._lock:
            if self._speakers.get(speaker.service) is speaker:
                del self._speakers[speaker.service]
        speaker.stop()

    def _await_first(self, speaker: Speaker) -> None:
        news, since = threading.Event(), self._clock()
        self._waiting.add(news)
        try:
            while not speaker.watch.ready:
                news.clear()
                fault = speaker.fault or self._roots.fault
                bound = QUEUE if isinstance(fault, RateLimited) else FIRST
                left = since + bound - self._clock()
                if self._closed or left <= 0 or isinstance(fault, _FINAL):
                    raise self._unavailable(speaker, fault)
                if not speaker.watch.ready:
                    news.wait(left)
        finally:
            self._waiting.discard(news)

    def _unavailable(self, speaker: Speaker, fault: ConsulFault | None) -> IdentityUnavailable:
        what, bundle = f"Consul gives no certificate for {speaker.service}", self._bundle.value
        if isinstance(fault, LeafFault):
            return fault
        if fault is not None:
            return IdentityUnavailable(what, why=in_short(fault), hint=fault.hint)
        if bundle is None:
            why, hint = "its CA has no root yet", "does the cluster have a leader?"
        elif speaker.leaf is None:
            why, hint = f"it did not answer within {FIRST:g} s", "see the log of the agent"
        else:
            why = f"{speaker.leaf.spiffe_id} is not of {bundle.trust_domain}, as its roots are"
            hint = "was the cluster made anew?"
        return IdentityUnavailable(what, why=why, hint=hint)

    # ---- what services are called here

    def _own(self) -> SpiffeId:
        """The id of a service here, this process's own if it has one."""
        for each in tuple(self._speakers.values()):
            if each.watch.ready:
                return spiffe.parse(each.watch.value.leaf.spiffe_id)
        if self._place is None:
            self._place = self._look_around()
        return self._place

    def _look_around(self) -> SpiffeId:
        """An id of nobody, for a process that has none: the command line, for instance."""
        try:
            bundle = read_roots(self._client.get(ROOTS).body)
            datacenter = self._client.get("/v1/agent/self").body["Config"]["Datacenter"]
        except ConsulFault as exc:
            what = "Consul does not say what its services are called"
            raise IdentityUnavailable(what, why=exc.what, hint=exc.hint) from exc
        if bundle is None:
            raise IdentityUnavailable("Consul's CA has no root yet")
        namespace = self._client.address.namespace or "default"
        return SpiffeId(bundle.trust_domain, f"/ns/{namespace}/dc/{datacenter}/svc/nobody")

    # ---- what is heard

    def _heard_roots(self, answer: Answer) -> None:
        try:
            bundle = read_roots(answer.body)
        except LeafRefused as fault:
            self._world.event("roots-refused", "roots", str(fault))
            return
        if bundle is not None:
            self._bundle.set(bundle)

    def _notify(self) -> None:
        for news in tuple(self._waiting):
            news.set()

    def __repr__(self) -> str:
        return f"<ConsulIdentity {self._client.address} {sorted(self._speakers)}>"
