"""Chooses the endpoint of an attempt, and tells it how the attempt went."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from meshlib.balance.load import key_of
from meshlib.balance.picker import Pick
from meshlib.balance.session import header_of, name_of, named
from meshlib.balance.upstream import Upstream
from meshlib.config import SessionConfig
from meshlib.errors import AttemptFailed, CallError, NoEndpoint, NoRoute
from meshlib.model import (
    Attempt,
    Bound,
    Call,
    Endpoint,
    Failed,
    Neg,
    NewCookie,
    Pending,
    Reply,
    Target,
    Verdict,
)
from meshlib.observe.events import Listener
from meshlib.policy.penalty import penalty
from meshlib.runtime import Runtime
from meshlib.stack.blame import settle
from meshlib.stack.service import AttemptService


def no_failover(_: Target) -> tuple[Target, ...]:
    """Nowhere."""
    return ()


@dataclass(frozen=True, slots=True)
class Balance:
    """Picks, and reports exactly once: when the reply's body has ended, or the attempt failed."""

    runtime: Runtime
    upstream: Callable[[str], Upstream]
    listener: Listener
    failover: Callable[[Target], tuple[Target, ...]] = no_failover
    """Where to go instead of a target that has nobody, in order."""

    def __call__(self, inner: AttemptService) -> AttemptService:
        """Wrap `inner`."""

        async def balance(attempt: Attempt) -> Reply:
            call = attempt.call
            pick = self._pick(attempt)
            if pick is None:
                pick = await self._first_pick(attempt)
            upstream = self.upstream((attempt.target or _target(call)).upstream)
            endpoint = attempt.endpoint = pick.endpoint
            call.tried += (endpoint,)
            try:
                reply = await inner(attempt)
            except BaseException as exc:
                settle(upstream, pick, attempt, exc, self.listener)
                if isinstance(exc, AttemptFailed):
                    exc.endpoint = endpoint
                raise
            reply.endpoint = endpoint
            if reply.closed:
                settle(upstream, pick, attempt, reply, self.listener)
            else:
                reply.on_close(partial(self._at_the_end, upstream, pick, attempt, reply))
            if call.set_cookies:
                _set_cookies(reply, call.set_cookies)
            if upstream.session is not None:
                _set_session(reply, call, endpoint, upstream.session)
            return reply

        return balance

    def _at_the_end(
        self,
        upstream: Upstream,
        pick: Pick,
        attempt: Attempt,
        reply: Reply,
        error: BaseException | None,
    ) -> None:
        """A body that broke off is the endpoint's failure, whatever its status said."""
        if isinstance(error, AttemptFailed):
            attempt.verdict, attempt.penalty = Verdict.FAILURE, penalty(error)
            settle(upstream, pick, attempt, error, self.listener)
        else:
            settle(upstream, pick, attempt, reply, self.listener)

    def _pick(self, attempt: Attempt) -> Pick | None:
        """A pick from the call's target; from its failover list when nobody there works.

        With no list, and when nobody works there either, one that is broken is better than none.
        """
        target = _target(attempt.call)
        pick = self._pick_from(target, attempt)
        if pick is not None and pick.working:
            return pick
        for other in self.failover(target):
            instead = self._pick_from(other, attempt)
            if instead is not None and instead.working:
                if pick is not None:
                    pick.done(Verdict.IGNORED)
                attempt.target = other
                return instead
            if instead is not None:
                instead.done(Verdict.IGNORED)
        return pick

    def _pick_from(self, target: Target, attempt: Attempt) -> Pick | None:
        upstream, call = self.upstream(target.upstream), attempt.call
        picker = upstream.picker(target.subset, call.protocol)
        if attempt.elsewhere:
            picker = upstream.elsewhere(target.subset, call.tried, call.protocol) or picker
        return None if picker is None else picker.pick(attempt)

    async def _first_pick(self, attempt: Attempt) -> Pick:
        """Wait for the first answers of discovery, if that is what is missing."""
        call = attempt.call
        target = _target(call)
        for each in (target, *self.failover(target)):
            upstream = self.upstream(each.upstream)
            if isinstance(upstream.resolution, Pending):
                await self.runtime.wait(upstream, call.deadline - self.runtime.clock())
            pick = self._pick(attempt)
            if pick is not None:
                return pick
        raise _nothing_to_pick(self.upstream(target.upstream), target)


def _target(call: Call) -> Target:
    return call.target or Target(call.service)


def _set_cookies(reply: Reply, cookies: Iterable[NewCookie]) -> None:
    """Hand the caller the keys that were made for it."""
    more = ((b"set-cookie", str(cookie).encode()) for cookie in cookies)
    reply.raw_headers = (*reply.raw_headers, *more)


def _set_session(reply: Reply, call: Call, endpoint: Endpoint, config: SessionConfig) -> None:
    """Tell the caller whom it got, unless it knows."""
    if named(call, config) != name_of(key_of(endpoint)):
        reply.raw_headers = (*reply.raw_headers, header_of(endpoint, config))


def _strict(upstream: Upstream) -> bool:
    return upstream.session is not None and upstream.session.strict


def _nothing_to_pick(upstream: Upstream, target: Target) -> CallError:
    resolution = upstream.resolution
    match resolution:
        case Neg(known):
            return NoRoute(
                f"there is no service {target.service!r} in the mesh",
                why=f"the registry knows: {', '.join(known) or 'no service at all'}",
                hint="check the name, also in --upstream; other hosts need a client of their own",
            )
        case Bound(snapshot) if snapshot.endpoints and _strict(upstream):
            why = f"its session is strict, and leads to none of {len(snapshot.endpoints)} endpoints"
            hint = "begin a new session: send the request without the cookie or header"
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
