"""What is asked of an admitted request before the application: its tokens, then the intentions."""

from __future__ import annotations

from collections.abc import Callable

from meshlib.observe.events import Inbound
from meshlib.serve.admission import Connection, Refusal
from meshlib.serve.options import AppOptions
from meshlib.trust.permission import NO_CLAIMS, Claims


def authorized(
    options: AppOptions,
    connection: Connection,
    inbound: Inbound,
    header: Callable[[str], str | None],
) -> tuple[Claims, Refusal | None]:
    """What tokens of the end user say, and the answer to a request that is not let in.

    `header` gives the value of a header by its lower-case name, all of one name joined.
    """
    claims = NO_CLAIMS
    if options.tokens is not None:
        found = options.tokens.claims(header, edge=connection.peer is None)
        if isinstance(found, Refusal):
            options.listener.request_refused(options.service, "token", found.status)
            return claims, found
        claims = found
    if options.authorization is None:
        return claims, None
    return claims, options.authorization.refusal(connection, inbound, header, claims)
