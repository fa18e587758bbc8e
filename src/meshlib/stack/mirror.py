"""Sends copies of calls to where nobody waits for the answer."""

from __future__ import annotations

from dataclasses import dataclass

from multidict import CIMultiDict

from meshlib.config.routes import MirrorConfig
from meshlib.context import MIRRORED
from meshlib.model import Attempt, Call, Reply, Target
from meshlib.observe.events import Listener
from meshlib.runtime import Runtime
from meshlib.stack.service import AttemptService, CallService

LONGEST = 15.0
"""Seconds a copy may take when the call itself has no deadline: the default of a call."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """Starts the copies, then lets the call go its way.

    A copy is one attempt, never repeated, over `send`: it waits for nobody and nobody waits for it.
    What comes of it is told to the listener and to nobody else.  It is not made for a body that is
    still to come, for a method its rule does not name, for what is a copy itself or made while one
    is served, and when too many copies are under way.
    """

    runtime: Runtime
    listener: Listener
    send: AttemptService
    """What is beneath retry: picks an endpoint and sends one attempt."""

    def __call__(self, inner: CallService) -> CallService:
        """Wrap `inner`."""

        async def mirror(call: Call) -> Reply:
            rules = call.rules
            if rules is not None and rules.mirrors and not _is_copy(call):
                self._start(call, rules.mirrors)
            return await inner(call)

        return mirror

    def _start(self, call: Call, mirrors: tuple[MirrorConfig, ...]) -> None:
        for rule in mirrors:
            if not _eligible(call, rule) or self.runtime.rng.random() * 100 >= rule.percent:
                continue
            mirrored = self._mirrored(call, Target(rule.service, rule.service_subset))
            if not self.runtime.spawn(self._run(mirrored, call.service)):
                self.listener.call_mirrored(call.service, mirrored.service, "dropped")

    def _mirrored(self, call: Call, target: Target) -> Call:
        """A call of its own: nothing a copy goes through may be seen by the call."""
        headers = CIMultiDict(call.headers if call.sent_headers is None else call.sent_headers)
        headers[MIRRORED] = "1"
        return Call(
            service=target.service,
            method=call.method,
            path=call.path if call.sent_path is None else call.sent_path,
            query=call.query,
            headers=headers,
            body=call.body,
            connect_timeout=call.connect_timeout,
            read_timeout=call.read_timeout,
            trace=call.trace,
            deadline=min(call.deadline, self.runtime.clock() + LONGEST),
            target=target,
            attempts=1,
        )

    async def _run(self, mirrored: Call, service: str) -> None:
        outcome = "failed"
        try:
            reply = await self.send(Attempt(mirrored))
            outcome = str(reply.status)
            await reply.discard()
        except Exception:  # noqa: BLE001 - nobody waits for it: it is counted, whatever it was
            outcome = "failed"
        finally:
            self.listener.call_mirrored(service, mirrored.service, outcome)


def _is_copy(call: Call) -> bool:
    return MIRRORED in call.headers or (call.context is not None and call.context.mirrored)


def _eligible(call: Call, rule: MirrorConfig) -> bool:
    return call.method in rule.methods and call.body.whole
