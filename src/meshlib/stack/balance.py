"""Chooses the endpoint of an attempt, and tells it how the attempt went."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from meshlib.balance.picker import Pick
from meshlib.balance.upstream import Upstream
from meshlib.errors import AttemptFailed, CallError, NoEndpoint, NoRoute
from meshlib.model import Attempt, Bound, Call, Failed, Neg, Pending, Reply, Target, Verdict
from meshlib.runtime import Runtime
from meshlib.stack.service import AttemptService


@dataclass(frozen=True, slots=True)
class Balance:
    """Picks, and reports exactly once: when the reply's body has ended, or the attempt failed."""

    runtime: Runtime
    upstream: Callable[[str], Upstream]

    def __call__(self, inner: AttemptService) -> AttemptService:
        """Wrap `inner`."""

        async def balance(attempt: Attempt) -> Reply:
            call = attempt.call
            pick = self._pick(attempt)
            if pick is None:
                pick = await self._first_pick(attempt)
            endpoint = attempt.endpoint = pick.endpoint
            call.tried += (endpoint,)
            try:
                reply = await inner(attempt)
            except BaseException as exc:
                pick.done(attempt.verdict)
                if isinstance(exc, AttemptFailed):
                    exc.endpoint = endpoint
                raise
            reply.endpoint = endpoint
            if reply.closed:
                pick.done(attempt.verdict)
            else:
                reply.on_close(lambda error: pick.done(_at_the_end(attempt.verdict, error)))
            return reply

        return balance

    def _pick(self, attempt: Attempt) -> Pick | None:
        target = _target(attempt.call)
        picker = self.upstream(target.service).picker(target.subset)
        return None if picker is None else picker.pick(attempt)

    async def _first_pick(self, attempt: Attempt) -> Pick:
        """Wait for the first answer of discovery, if that is what is missing."""
        call = attempt.call
        upstream = self.upstream(_target(call).service)
        if isinstance(upstream.resolution, Pending):
            await self.runtime.wait(upstream, call.deadline - self.runtime.clock())
        pick = self._pick(attempt)
        if pick is None:
            raise _nothing_to_pick(upstream, _target(call))
        return pick


def _target(call: Call) -> Target:
    return call.target or Target(call.service)


def _at_the_end(verdict: Verdict, error: BaseException | None) -> Verdict:
    """A body that broke off is the endpoint's failure, whatever its status said."""
    return Verdict.FAILURE if isinstance(error, AttemptFailed) else verdict


def _nothing_to_pick(upstream: Upstream, target: Target) -> CallError:
    resolution = upstream.resolution
    match resolution:
        case Neg(known):
            return NoRoute(
                f"there is no service {target.service!r} in the mesh",
                why=f"the registry knows: {', '.join(known) or 'no service at all'}",
                hint="check the name; hosts outside of the mesh need a client of their own",
            )
        case Bound(snapshot) if snapshot.endpoints:
            why = f"none of its {len(snapshot.endpoints)} endpoints is in subset {target.subset!r}"
            hint = "see the service's service-resolver and the meta of its instances"
        case Bound():
            why = "no instance is registered, passing and not draining"
            hint = "see `meshlib services`"
        case Failed(cause):
            why, hint = f"discovery failed: {cause}", "see the log of meshlib.control"
        case _:
            why, hint = "discovery has not answered in time", "see the log of meshlib.control"
    return NoEndpoint(
        f"{target} has no endpoint that may be used", resolution=resolution, why=why, hint=hint
    )
