"""
The first certificate, fetched beside the calls that need it.

A control plane that is down has no certificate to give, and says so only after seconds.  Whoever
calls meanwhile waits as long as the call may take, and no event loop waits for it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from math import inf

from meshlib.context import current
from meshlib.errors import IdentityUnavailable
from meshlib.model import Call, Reply
from meshlib.runtime import Runtime
from meshlib.stack.service import CallService
from meshlib.watch import Watch


class Arrival:
    """Has `fetch` done on a thread of its own until it works; `arrived` tells that it has."""

    def __init__(self, fetch: Callable[[], object], arrived: Callable[[], bool]) -> None:
        self._fetch, self._arrived = fetch, arrived
        self._trying: tuple[int, Watch[BaseException | None]] | None = None

    def then(self, make: Callable[[], CallService], runtime: Callable[[], Runtime]) -> CallService:
        """What `make` makes; before the arrival a service that waits for it first.

        That one raises IdentityUnavailable, or whatever else `fetch` raised.
        """
        if self._arrived():
            return make()

        async def wait_first(call: Call) -> Reply:
            if not self._arrived():
                await self._wait(call, runtime())
            return await make()(call)

        return wait_first

    async def _wait(self, call: Call, runtime: Runtime) -> None:
        attempt, seconds = self._attempt(), _patience(call, runtime)
        if not await runtime.wait(attempt, seconds):
            raise IdentityUnavailable(
                f"no certificate to call {call.service} with",
                why=f"the control plane has not given one, and the call may take {seconds:.3g} s",
            )
        error = attempt.value
        if isinstance(error, IdentityUnavailable):  # perhaps of a class that faces do not know
            raise IdentityUnavailable(error.what, why=error.why, hint=error.hint) from error
        if error is not None:
            raise error

    def _attempt(self) -> Watch[BaseException | None]:
        """The one that is under way in this process, or a new one.

        Two that begin at the same moment do no harm, and a forked child has no thread of another.
        """
        trying, here = self._trying, os.getpid()
        if trying is None or trying[0] != here or trying[1].ready:
            trying = self._trying = here, Watch[BaseException | None](None)
            name = "meshlib-first-certificate"
            threading.Thread(target=self._try, args=trying[1:], name=name, daemon=True).start()
        return trying[1]

    def _try(self, attempt: Watch[BaseException | None]) -> None:
        try:
            self._fetch()
        except BaseException as exc:  # noqa: BLE001 - it is raised by those who wait for it
            attempt.set(exc)
        else:
            attempt.set(None)


def _patience(call: Call, runtime: Runtime) -> float:
    """Seconds that the call, its first connection and the request it is made for may take."""
    context = current()
    until = inf if context is None else context.deadline - runtime.clock()
    whole = inf if call.timeout is None else call.timeout
    return max(0.0, min(whole, call.connect_timeout, until))
