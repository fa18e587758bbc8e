"""Sees every logical call, with its outcome, exactly once."""

from __future__ import annotations

from dataclasses import dataclass

from meshlib.errors import CallError
from meshlib.model import Call, Reply
from meshlib.observe.events import Listener, Tracer
from meshlib.runtime import Runtime
from meshlib.stack.explain import Explainer
from meshlib.stack.service import CallService


@dataclass(frozen=True, slots=True)
class Observe:
    """Opens the call's span, tells the listener how it went, explains the call in its error."""

    runtime: Runtime
    tracer: Tracer
    listener: Listener
    explain: Explainer

    def __call__(self, inner: CallService) -> CallService:
        """Wrap `inner`."""
        clock, tracer, listener = self.runtime.clock, self.tracer, self.listener

        async def observe(call: Call) -> Reply:
            began = clock()
            span = call.trace = tracer.call(call)
            try:
                reply = await inner(call)
            except BaseException as exc:
                if isinstance(exc, CallError):
                    exc.of(call)
                    exc.add_note(str(self.explain(call)))
                listener.call_finished(call, exc, clock() - began)
                if span is not None:
                    span.end(error=exc)
                raise
            listener.call_finished(call, reply.status, clock() - began)
            if span is not None:
                span.end(status=reply.status, headers=reply.headers)
            return reply

        return observe
