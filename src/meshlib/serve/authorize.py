"""
Who of those that were admitted may do what: the intentions, asked request by request.

Admission (`serve.admission`) has settled who is calling; here the answer is 403.  It is given per
request and the connection stays: intentions may look at the request, they may change while the
connection lives, and a caller that had to shake hands anew for each refusal would cost more than
one that is let in.  To the edge, where nobody has an identity, intentions do not apply; to
plaintext that is accepted (`serve.plaintext`) they apply as to strangers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

from meshlib.config import ServingConfig
from meshlib.model import Identity
from meshlib.observe.events import Inbound, Listener
from meshlib.serve.admission import Connection, Refusal
from meshlib.serve.observed import Observed
from meshlib.serve.tokens import MISSING
from meshlib.trust.bundle import Credentials
from meshlib.trust.intention import Decision, IntentionSet
from meshlib.trust.paths import plain_path
from meshlib.trust.permission import NO_CLAIMS, Claims, Request
from meshlib.trust.spiffe import surroundings
from meshlib.watch import Watch

log = logging.getLogger("meshlib.authorization")

DENIED = Refusal(403, "the intentions of this service do not allow this request")
"""All that a caller is told: which rule it was is the operator's to know."""

REMEMBERED = 1024
"""Pairs of caller and rule that were logged; beyond them logging begins anew."""


class _Era(NamedTuple):
    """What decides about callers, as long as none of it is replaced."""

    intentions: IntentionSet
    config: ServingConfig
    credentials: Credentials
    around: str
    """What the ids of services of ours begin with."""


class Authorization:
    """Decides by the intentions known now, and tells of every denial.

    In audit mode `observed` hears of every request.  Each denial is counted; the log has one line
    for each caller and rule.
    """

    __slots__ = (
        "_config",
        "_credentials",
        "_era",
        "_intentions",
        "_listener",
        "_logged",
        "_observed",
        "_service",
    )

    def __init__(
        self,
        service: str,
        intentions: Watch[IntentionSet],
        config: Watch[ServingConfig],
        credentials: Watch[Credentials],
        listener: Listener,
        observed: Observed | None = None,
    ) -> None:
        self._service, self._intentions, self._config = service, intentions, config
        self._credentials, self._listener = credentials, listener
        self._observed = observed
        self._era: _Era | None = None
        self._logged: set[tuple[str, str, bool]] = set()

    def refusal(
        self,
        connection: Connection,
        inbound: Inbound,
        header: Callable[[str], str | None],
        claims: Claims = NO_CLAIMS,
    ) -> Refusal | None:
        """Why the request is not let in; None when it is.

        `header` gives the value of a header by its lower-case name, all of one name joined;
        `claims` is what tokens of the end user say.
        """
        era = self._now()
        if connection.edge or connection.let_in is era:
            return None
        intentions = era.intentions
        source = _source(connection.identity, era)
        enforced = era.config.authorization == "enforce"
        settled = intentions.settled(source)
        if enforced and settled is not None and settled.allowed:
            connection.let_in = era
            return None
        request = Request(inbound.method, plain_path(inbound.path), header, claims)
        decision = settled or intentions.decide(source, request)
        if self._observed is not None and not enforced:
            self._observed.note(inbound, request.path)
        if decision.allowed:
            return None
        self._tell(inbound, decision, enforced=enforced)
        if not enforced:
            return None
        return MISSING if decision.tokenless else DENIED

    def _now(self) -> _Era:
        intentions, config = self._intentions.value, self._config.value
        credentials, era = self._credentials.value, self._era
        if (
            era is None
            or era.intentions is not intentions
            or era.config is not config
            or era.credentials is not credentials
        ):
            around = surroundings(credentials.leaf.spiffe_id)
            era = self._era = _Era(intentions, config, credentials, around)
        return era

    def _tell(self, inbound: Inbound, decision: Decision, *, enforced: bool) -> None:
        self._listener.request_denied(self._service, inbound, decision.rule, enforced=enforced)
        key = str(inbound.peer or inbound.caller), decision.rule, enforced
        if key in self._logged:
            return
        if len(self._logged) >= REMEMBERED:
            self._logged.clear()
        self._logged.add(key)
        log.warning(
            "%s %s %s of %s: %s (further ones like it are only counted)",
            "denied" if enforced else "would deny",
            inbound.method,
            inbound.path,
            key[0],
            decision.reason,
        )


def _source(identity: Identity | None, era: _Era) -> str:
    """The caller's service or, if intentions name that, its id.

    It is "" for one of elsewhere, and for one that has proven nothing.
    """
    if identity is None:
        return ""
    ours = identity.spiffe_id.startswith(era.around)
    return era.intentions.known_as(identity.spiffe_id, identity.service if ours else "")
