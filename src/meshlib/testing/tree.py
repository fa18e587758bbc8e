"""
A whole tree of calls in one thread: real client stacks, real server-side contexts, no wire.

Each service is a handler; each pair of services has the client stack it would have in a process of
its own.  The headers of an attempt and of its reply pass as they would on the wire.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from meshlib.balance.upstream import Upstream
from meshlib.config import UpstreamConfig
from meshlib.errors import CallError
from meshlib.model import Attempt, Bound, Call, Identity, Reply, Snapshot, Target
from meshlib.observe.events import Inbound, Listener
from meshlib.observe.passthrough import Passthrough
from meshlib.observe.quiet import Quiet
from meshlib.policy.backoff import Backoff
from meshlib.policy.budget import RetryBudget
from meshlib.route.table import straight
from meshlib.runtime import Clock, Rng, SyncRuntime, run_sync
from meshlib.serve.context import context_of, said_back
from meshlib.serve.options import AppOptions
from meshlib.stack.client import Destination, client_stack
from meshlib.stack.service import AttemptService, CallService
from meshlib.testing.script import endpoints
from meshlib.trust.bundle import Credentials, LeafCert
from meshlib.watch import Watch

Ask: TypeAlias = Callable[[str], Coroutine[Any, Any, int]]
"""Calls a service by name; its status, 503 when the call fails otherwise."""

Handler: TypeAlias = Callable[[Ask], Coroutine[Any, Any, int]]
"""Serves a request: asks others, and answers with a status."""

_PEER = Identity("spiffe://example.org/ns/default/dc/local/svc/caller", "caller")
_NOBODY = Credentials(LeafCert("", b"", b"", 0.0, 0.0), {})


class Tree:
    """Services that call each other.

    `deaf` servers neither read nor write the mesh's headers, as if it were none; without `nacks`
    they only forget to ask that nobody tries again.  Both show what the headers are good for.
    `listener` hears what those of all services would.
    """

    def __init__(
        self,
        clock: Clock,
        rng: Rng,
        config: UpstreamConfig,
        *,
        deaf: bool = False,
        nacks: bool = True,
        listener: Listener | None = None,
    ) -> None:
        self.served: Counter[str] = Counter()
        """Requests that reached each service."""
        self.retried = 0
        """Of these, the ones that came with an attempt after the first of their call."""
        self._runtime = SyncRuntime(clock, rng, sleep=lambda _: None)
        self._config, self._deaf, self._nacks = config, deaf, nacks
        self._handlers: dict[str, Handler] = {}
        self._stacks: dict[tuple[str, str], CallService] = {}
        self._options = AppOptions(
            service="",
            instance="",
            credentials=Watch(_NOBODY, ready=True),
            tracer=Passthrough(),
            listener=listener or Quiet(),
            clock=clock,
        )

    def add(self, service: str, handler: Handler) -> None:
        """There is a service of this name."""
        self._handlers[service] = handler

    def request(self, service: str) -> int:
        """One request from the edge; the status of its answer."""
        return run_sync(self._serve(service, Attempt(Call(service)), edge=True)).status

    def _ask(self, caller: str) -> Ask:
        async def ask(service: str) -> int:
            stack = self._stacks.get((caller, service))
            if stack is None:
                stack = self._stacks[caller, service] = self._stack(service)
            try:
                reply = await stack(Call(service))
            except CallError:
                return 503
            return reply.status

        return ask

    def _stack(self, service: str) -> CallService:
        clock, runtime = self._runtime.clock, self._runtime
        upstream = Upstream(service, clock, runtime.rng, self._config)
        upstream.update(Bound(Snapshot(service, endpoints(1, 2))))
        retry = self._config.retry
        destination = Destination(
            service=service,
            config=Watch(self._config, ready=True),
            table=Watch(straight(Target(service)), ready=True),
            upstream=lambda _: upstream,
            backoff=Watch(Backoff(retry.backoff), ready=True),
            budget=Watch(RetryBudget(clock, retry.budget), ready=True),
        )
        return client_stack(
            destination,
            self._engine(service),
            runtime=runtime,
            tracer=Passthrough(),
            listener=self._options.listener,
        )

    def _engine(self, service: str) -> AttemptService:
        async def engine(attempt: Attempt) -> Reply:
            return await self._serve(service, attempt, edge=False)

        return engine

    async def _serve(self, service: str, attempt: Attempt, *, edge: bool) -> Reply:
        """What a server does with the request of an attempt."""
        self.served[service] += 1
        self.retried += attempt.number > 1
        handler = self._handlers[service]
        if self._deaf:
            return Reply(await handler(self._ask(service)))
        peer = None if edge else _PEER
        inbound = Inbound("GET", "/", dict(attempt.headers), peer, ("", 0), edge)
        context = context_of(self._options, attempt.headers, edge=edge)
        token = context.enter()
        try:
            status = await handler(self._ask(service))
            context.futile = context.futile and self._nacks
            self._options.listener.request_served(service, inbound, status, 0.0)
            return Reply(status, dict(said_back(context, inbound, status)))
        finally:
            context.leave(token)
