"""
Identity from files that somebody else renews: cert-manager, a Kubernetes secret, spiffe-helper.

The files are looked at every second.  What does not fit together (a key of another certificate, a
chain that leads nowhere, half a file) is not used, and the last good ones stay; it is told of if it
is still so at the next look, for a folder that is being written to is torn for a moment.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from meshlib.control import federation
from meshlib.control.federation import Federation
from meshlib.control.local.atfork import ForkLock
from meshlib.control.local.worker import Worker
from meshlib.control.pemfiles import Pems, judged, read_pem, read_pems
from meshlib.errors import IdentityUnavailable
from meshlib.trust import spiffe
from meshlib.trust.bundle import Credentials, LeafCert, TrustBundle
from meshlib.watch import Watch

logger = logging.getLogger("meshlib.identity")

POLL = 1.0
"""Seconds between two looks; kubelet itself takes up to a minute to bring a new secret."""
OVERDUE = 0.9
"""Share of its life by which others have renewed it: cert-manager does at two thirds."""

Event = Callable[[str, str, str], None]
"""As `Listener.control_event`: kind, subject, text."""


@dataclass(slots=True)
class _Followed:
    """One service this process speaks as."""

    service: str
    watch: Watch[Credentials]
    used: Pems
    refused: Pems | str | None = None
    """What could not be used when we last looked, or why it could not be read."""
    told: str = ""
    worried: str = ""
    """The kind of what was said of the age of the leaf."""


class FilesIdentity:
    """An `IdentitySource` on the files in `folder`, for one service.

    The certificate must name it as the mesh does: `spiffe://DOMAIN/ns/NS/dc/DC/svc/SERVICE`; those
    it calls are its neighbours.  `bundles` in it holds the roots of other trust domains.  `now`
    gives Unix time.  Nothing is read before the first question.
    """

    oldest_tls = ssl.TLSVersion.TLSv1_3

    def __init__(
        self, folder: Path, *, now: Callable[[], float], event: Event, poll: float = POLL
    ) -> None:
        self._folder, self._now, self._event, self._poll = folder, now, event, poll
        self._federation = Federation(folder / federation.FOLDER, read_pem, event)
        self._followed: dict[str, _Followed] = {}
        self._lock = ForkLock(2)
        self._worker = Worker("meshlib-files", self._step, inherit=True)

    def credentials(self, service: str) -> Watch[Credentials]:
        """The certificate and roots in the folder; the same watch for the same name.

        Raises IdentityUnavailable when they cannot be used by `service`.
        """
        with self._lock:
            if service not in self._followed:
                pems = read_pems(self._folder)
                leaf, bundle = judged(pems, service, self._now())
                credentials = Credentials(leaf, self._with(bundle), 1)
                watch = Watch(credentials, ready=True)
                self._followed[service] = _Followed(service, watch, pems)
            watch = self._followed[service].watch
        self._worker.start()
        return watch

    def spiffe_id(self, service: str, datacenter: str = "") -> str:
        """The id of a neighbour.  Raises IdentityUnavailable, ConfigError."""
        with self._lock:
            known = next(iter(self._followed.values()), None)
        if known is None:
            why = "its own certificate was not asked for yet"
            raise IdentityUnavailable(f"the id of {service} is not known", why=why)
        own = spiffe.parse(known.watch.value.leaf.spiffe_id)
        return str(spiffe.neighbour(own, service, datacenter))

    def server_name(self, service: str, subset: str = "", datacenter: str = "") -> str:
        """Nothing: nobody routes by it."""
        del service, subset, datacenter
        return ""

    def look(self) -> None:
        """Use what is new in the folder, if it can be used; never raises."""
        with self._lock:
            for each in self._followed.values():
                self._look(each)
                self._federate(each)
                self._worry(each)

    def close(self) -> None:
        """Stop looking; the watches keep their last value."""
        self._worker.stop()

    def _step(self) -> float:
        self.look()
        return self._poll

    def _look(self, each: _Followed) -> None:
        found: Pems | None = None
        try:
            found = read_pems(self._folder)
            if found != each.used:
                self._use(each, found)
        except IdentityUnavailable as exc:
            self._refuse(each, found, exc)
        else:
            each.refused = None
            if each.told:
                each.told = ""
                text = f"what is in {self._folder} can be used again"
                self._tell("identity-restored", each.service, text)

    def _use(self, each: _Followed, pems: Pems) -> None:
        old = each.watch.value
        leaf, bundle = judged(pems, each.service, self._now())
        bundles = {**old.bundles, bundle.trust_domain: bundle}
        each.used, each.worried = pems, ""
        each.watch.set(Credentials(leaf, bundles, old.generation + 1))
        if bundles != old.bundles:
            text = f"the roots in {self._folder} are now {len(bundle.roots)}"
            self._tell("roots-changed", each.service, text)

    def _with(self, own: TrustBundle) -> dict[str, TrustBundle]:
        return {**self._federation.look(own.trust_domain), own.trust_domain: own}

    def _federate(self, each: _Followed) -> None:
        """Trust the other domains whose bundles are there, and no others."""
        old = each.watch.value
        own = old.bundles[spiffe.parse(old.leaf.spiffe_id).trust_domain]
        bundles = self._with(own)
        if bundles != old.bundles:
            each.watch.set(replace(old, bundles=bundles, generation=old.generation + 1))
            others = ", ".join(sorted(set(bundles) - {own.trust_domain})) or "none"
            text = f"the other trust domains that are trusted are now {others}"
            self._tell("roots-changed", each.service, text)

    def _refuse(self, each: _Followed, found: Pems | None, exc: IdentityUnavailable) -> None:
        why = f"{exc.what}: {exc.why or exc.hint}"
        seen = found or why
        lasting, each.refused = each.refused == seen, seen
        if lasting and why != each.told:
            each.told = why
            text = f"what is in {self._folder} is not used, what was read before stays: {why}"
            self._tell("leaf-refused", each.service, text)

    def _worry(self, each: _Followed) -> None:
        """Say once that a leaf should have been renewed, and once that it is over."""
        credentials = each.watch.value
        kind, text = _age(credentials.leaf, self._now())
        if kind in {"", each.worried}:
            return
        each.worried = kind
        trouble = each.told or f"there is no newer one in {self._folder}"
        self._tell(kind, each.service, f"{text}: {trouble}")
        if kind == "leaf-expired":
            remedy = "look at who renews it"
            after = credentials.generation + 1
            each.watch.set(replace(credentials, generation=after, trouble=trouble, remedy=remedy))

    def _tell(self, kind: str, subject: str, text: str) -> None:
        logger.warning("%s", text)
        self._event(kind, subject, text)


def _age(leaf: LeafCert, now: float) -> tuple[str, str]:
    if now > leaf.not_after:
        return "leaf-expired", f"{leaf.spiffe_id} has expired, so that nobody talks to it"
    if now > leaf.not_before + OVERDUE * (leaf.not_after - leaf.not_before):
        return "leaf-overdue", f"{leaf.spiffe_id} should have been renewed by now"
    return "", ""
