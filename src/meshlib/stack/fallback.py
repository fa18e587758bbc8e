"""Answers in place of an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from meshlib.config.routes import FallbackConfig
from meshlib.errors import (
    AttemptFailed,
    CallError,
    DeadlineExceeded,
    Denied,
    NoEndpoint,
    NoRoute,
    Rejected,
)
from meshlib.model import Call, Reply
from meshlib.route.answer import made
from meshlib.route.rules import Rules
from meshlib.route.table import RouteTable
from meshlib.stack.service import CallService
from meshlib.watch import Watch

InCode: TypeAlias = Callable[[Call, CallError], Reply | None]
"""A program's own fallback; None lets the error be.  It must be quick."""

KINDS: Mapping[str, type[CallError]] = MappingProxyType(
    {
        "deadline": DeadlineExceeded,
        "denied": Denied,
        "failed": AttemptFailed,
        "no-endpoint": NoEndpoint,
        "no-route": NoRoute,
        "rejected": Rejected,
    }
)
"""What the words of `FallbackConfig.on` mean."""


@dataclass(frozen=True, slots=True)
class Fallback:
    """Asks the program's fallback first, then the document's.

    A reply with a status is not an error, whatever the status: the service has spoken.
    """

    table: Watch[RouteTable]
    in_code: InCode | None = None

    def __call__(self, inner: CallService) -> CallService:
        """Wrap `inner`."""

        async def fallback(call: Call) -> Reply:
            try:
                return await inner(call)
            except CallError as error:
                reply = self._stand_in(call, error)
                if reply is None:
                    raise
                call.fell_back = type(error).__name__
                return reply

        return fallback

    def _stand_in(self, call: Call, error: CallError) -> Reply | None:
        reply = self.in_code(call, error) if self.in_code is not None else None
        if reply is not None:
            return reply
        said = self._rule(call)
        if said is None or not any(isinstance(error, KINDS[word]) for word in said.on):
            return None
        return made(call, said.status, said.headers, said.body)

    def _rule(self, call: Call) -> FallbackConfig | None:
        """That of the call's route, also for a call that was refused before it had one."""
        rules: Rules | None = call.rules if call.route else self.table.value.match(call).rules
        return None if rules is None else rules.fallback
