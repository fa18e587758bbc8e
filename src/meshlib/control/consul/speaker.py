"""One service this process speaks as: its leaf, followed, and what it makes with the roots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from meshlib.control.consul.faults import (
    AgentUnreachable,
    ConnectDisabled,
    ConsulFault,
    NotAllowed,
    RateLimited,
)
from meshlib.control.consul.follow import Follower
from meshlib.control.consul.http import Answer, ConsulClient
from meshlib.control.consul.leaf import (
    EXPIRED,
    ClockSkew,
    LeafExpired,
    LeafRefused,
    early,
    overdue,
    read_leaf,
)
from meshlib.control.consul.leafwatch import LeafWait, path_of
from meshlib.control.local.atfork import ForkLock
from meshlib.runtime import Clock, Rng
from meshlib.trust import spiffe
from meshlib.trust.bundle import Credentials, LeafCert, TrustBundle
from meshlib.watch import Watch

INTERVAL, BURST = 1.0, 3
"""Of the pace of one leaf: with a LeafCertTTL under ten minutes agents renew without a pause."""
RANK = 3
"""Of the lock: it is taken within the callbacks of followers."""

_KINDS: tuple[tuple[type[ConsulFault], str], ...] = (
    (NotAllowed, "identity-denied"),
    (ConnectDisabled, "connect-disabled"),
    (RateLimited, "identity-queued"),
    (LeafExpired, EXPIRED),
    (ClockSkew, "clock-skew"),
    (LeafRefused, "leaf-refused"),
    (ConsulFault, "identity-trouble"),
)


@dataclass(frozen=True, slots=True)
class World:
    """Time, chance, and who is told."""

    event: Callable[[str, str, str], None]
    """As `Listener.control_event`: kind, subject, text."""
    now: Clock
    """Unix time, which certificates are measured on."""
    clock: Clock
    rng: Rng
    notify: Callable[[], None]
    """Hears that something has changed."""

    def lost(self, subject: str, fault: ConsulFault) -> None:
        """Tell of a fault, unless it is the agent's, of which its breaker tells."""
        if not isinstance(fault, AgentUnreachable):
            kind = next(kind for made, kind in _KINDS if isinstance(fault, made))
            self.event(kind, subject, str(fault))
        self.notify()


class Speaker:
    """Speaks as `service` from `start` until `stop`; the watch is ready with the first leaf."""

    def __init__(
        self, client: ConsulClient, service: str, roots: Watch[TrustBundle | None], world: World
    ) -> None:
        self.service, self._roots, self._world = service, roots, world
        self.watch = Watch(Credentials(LeafCert("", b"", b"", 0.0, 0.0), {}))
        self.leaf: LeafCert | None = None
        """The newest, whether or not there are roots for it."""
        self._told: tuple[str, LeafCert] | None = None
        self._lock = ForkLock(RANK)
        self._follower = Follower(
            LeafWait(client, service, now=world.now, tick=self._look_at_the_clock),
            path_of(service),
            heard=self._heard,
            failed=lambda fault: world.lost(service, fault),
            interval=INTERVAL,
            burst=BURST,
            clock=world.clock,
            rng=world.rng,
        )
        self._forget = roots.subscribe(self._install)

    @property
    def fault(self) -> ConsulFault | None:
        """Why there is no news of the leaf; None: nothing stands in its way."""
        return self._follower.fault

    def start(self) -> None:
        """Begin to follow, unless that has happened."""
        self._follower.start()

    def stop(self) -> None:
        """End it; the watch keeps its last value."""
        self._forget()
        self._follower.stop()

    def _heard(self, answer: Answer) -> None:
        leaf = read_leaf(answer.body, self.service)
        if skew := early(leaf, self._world.now()):
            self._world.event("clock-skew", self.service, skew)
        self.leaf = leaf
        self._install()

    def _install(self) -> None:
        """Make credentials of leaf and roots, once they are of the same trust domain."""
        with self._lock:
            leaf, bundle, old = self.leaf, self._roots.value, self.watch.value
            if leaf is None or bundle is None:
                return
            domain = spiffe.parse(leaf.spiffe_id).trust_domain
            bundles = {domain: bundle}
            if domain == bundle.trust_domain and (leaf, bundles) != (old.leaf, old.bundles):
                self.watch.set(Credentials(leaf, bundles, old.generation + 1))
        self._world.notify()

    def _look_at_the_clock(self) -> None:
        """Say once of each leaf that it is not renewed in time, and once that its time is over."""
        leaf, fault = self.watch.value.leaf, self.fault
        kind, text = overdue(leaf, self._world.now())
        if not self.watch.ready or not kind:
            return
        why, hint = (in_short(fault), fault.hint) if fault else ("the agent has no newer one", "")
        if kind == EXPIRED:
            self._explain(why, hint)
        if self._told != (kind, leaf):
            self._told = kind, leaf
            self._world.event(kind, self.service, f"{text}: {why}")

    def _explain(self, why: str, hint: str) -> None:
        """Give whoever calls with a leaf that has expired something to say."""
        with self._lock:
            old = self.watch.value
            if why != old.trouble:
                generation = old.generation + 1
                self.watch.set(replace(old, generation=generation, trouble=why, remedy=hint))


def in_short(fault: ConsulFault) -> str:
    """What, and why, in one line."""
    return f"{fault.what}: {fault.why}" if fault.why else fault.what
