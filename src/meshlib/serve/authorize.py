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


class Authorization:
    """Decides by the intentions known now, and tells of every denial.

    In audit mode `observed` hears of every request.  Each denial is counted; the log has one line
    for each caller and rule.
    """

    __slots__ = (
        "_around",
        "_config",
        "_credentials",
        "_intentions",
        "_listener",
        "_logged",
        "_observed",
        "_ours",
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
        self._ours = self._around = ""
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
        if connection.edge:
            return None
        intentions = self._intentions.value
        source = self._source(connection.identity, intentions)
        enforced = self._config.value.authorization == "enforce"
        settled = intentions.settled(source)
        if enforced and settled is not None and settled.allowed:
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

    def _source(self, identity: Identity | None, intentions: IntentionSet) -> str:
        """The caller's service or, if intentions name that, its id.

        It is "" for one of elsewhere, and for one that has proven nothing.
        """
        if identity is None:
            return ""
        own = self._credentials.value.leaf.spiffe_id
        if own is not self._ours:
            self._ours, self._around = own, surroundings(own)
        ours = identity.spiffe_id.startswith(self._around)
        return intentions.known_as(identity.spiffe_id, identity.service if ours else "")

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
