"""What the stacks of synchronous callers and those of event loops have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from meshlib.adapters.wire import Trust
from meshlib.config import ConnectConfig
from meshlib.observe.events import Listener, Tracer
from meshlib.policy.stall import StallMeter
from meshlib.runtime import Runtime
from meshlib.stack.client import Destination, client_stack
from meshlib.stack.service import AttemptService, CallService

IDLE = ConnectConfig().idle


@dataclass(frozen=True, slots=True)
class Parts:
    """What every stack of a mesh is built of."""

    destination: Callable[[str], Destination]
    trust: Trust
    h2: Trust
    """The same for connections that speak HTTP/2."""
    tracer: Tracer
    listener: Listener

    def stack(
        self, service: str, engine: AttemptService, runtime: Runtime, stalls: StallMeter
    ) -> CallService:
        """The stack to `service` over `engine`; `stalls` knows when the engine stood still."""
        return client_stack(
            self.destination(service),
            engine,
            runtime=runtime,
            tracer=self.tracer,
            listener=self.listener,
            stalls=stalls,
        )


Engine: TypeAlias = Callable[[Parts], AttemptService]
"""Gives the engine of a face that brings its own; asked whenever a stack is made."""
