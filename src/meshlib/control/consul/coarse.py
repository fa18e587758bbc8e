"""
`Feed`: any number of things of one sort, kept up to date over few connections.

Up to `FINE` of them have a blocking query each, which is the quickest.  From then on a trigger says
what to read again, and one thread reads it: a hundred services cost no more connections than ten.
The change loses nothing: a thing goes on with its own query until the trigger tells all changes,
and is read once more after that query was ended.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from math import inf

from meshlib.control.consul.faults import (
    AgentUnreachable,
    ConsulFault,
    CutShort,
    RateLimited,
    ServerTrouble,
    UnknownDatacenter,
)
from meshlib.control.consul.follow import Follower, Waits
from meshlib.control.consul.http import WAIT, Answer, Interrupt
from meshlib.control.consul.reader import Reader
from meshlib.control.consul.triggers import News, Trigger
from meshlib.control.local.atfork import ForkLock

FINE = 6
"""Blocking queries of one sort; two sorts and what else is followed make fewer than twenty."""
AGAIN = 30.0
"""Seconds until what Consul refused, or may have answered from an old state, is read again."""

RANK = 3


@dataclass(slots=True)
class Subject:
    """One thing that is followed."""

    name: str
    path: str
    heard: Callable[[Answer], None]
    failed: Callable[[ConsulFault], None]
    params: Mapping[str, str | None] = field(default_factory=dict)
    read: bool = False
    """Whether it was read since the trigger tells its changes."""


class Feed:
    """Follows subjects from `follow` until `close`."""

    def __init__(
        self,
        source: Waits,
        trigger: Callable[[News], Trigger],
        *,
        name: str,
        fine: int = FINE,
    ) -> None:
        self._source, self._make_trigger, self._fine = source, trigger, fine
        self._subjects: dict[str, Subject] = {}
        self._followers: dict[str, Follower] = {}
        self._trigger: Trigger | None = None
        self._reader = Reader(self._read, name=f"meshlib-consul-{name}")
        self._closing = Interrupt()
        self._lock = ForkLock(RANK)
        self._coarse = False

    @property
    def coarse(self) -> bool:
        """Whether there are so many that a trigger tells what has changed."""
        return self._coarse

    def follow(self, subject: Subject) -> None:
        """Keep one more up to date."""
        with self._lock:
            self._subjects[subject.name] = subject
            fine = len(self._subjects) <= self._fine
            first = not fine and not self.coarse
            self._coarse = self._coarse or first
        if fine:
            follower = self._followers[subject.name] = self._follower(subject)
            follower.start()
            return
        if first:
            self._trigger = self._make_trigger(self)
            self._trigger.start()
        self._reader.want([subject.name])

    def age_since(self, name: str) -> float:
        """When Consul last confirmed what is known of it, on the clock; -inf: never."""
        follower, subject = self._followers.get(name), self._subjects.get(name)
        trigger = self._trigger
        if follower is not None:
            return follower.heard_at
        return trigger.heard_at if trigger and subject and subject.read else -inf

    def close(self) -> None:
        """Stop following; a read that is under way is cut short."""
        self._closing.set()
        self._reader.stop()
        for each in tuple(self._followers.values()):
            each.stop()
        if self._trigger is not None:
            self._trigger.stop()

    # ---- what the trigger says

    def changed(self, names: Collection[str]) -> None:
        """Read those of them that are followed."""
        known = self._subjects
        self._reader.want([name for name in names if name in known])

    def suspect(self) -> None:
        """Read everything, in good time."""
        self._reader.want(tuple(self._subjects), certain=False)

    def begin(self) -> None:
        """Read everything now."""
        self._reader.want(tuple(self._subjects))

    # ---- reading

    def _follower(self, subject: Subject) -> Follower:
        return Follower(
            self._source,
            subject.path,
            params=subject.params,
            heard=subject.heard,
            failed=subject.failed,
        )

    def _read(self, name: str) -> None:
        subject, trigger = self._subjects[name], self._trigger
        complete = trigger is not None and trigger.ready
        follower = self._followers.pop(name, None) if complete else None
        if follower is not None:
            follower.stop()  # before it is read: an answer of its own would come from the past
        try:
            answer = self._newest(subject)
        except (AgentUnreachable, CutShort, RateLimited, ServerTrouble) as fault:
            if self._closing.happened:
                return
            subject.failed(fault)
            if not isinstance(fault, UnknownDatacenter):
                raise
            self._reader.want_later(name, AGAIN)
        except ConsulFault as fault:
            subject.failed(fault)
            self._reader.want_later(name, AGAIN)
        else:
            subject.heard(answer)
            subject.read = complete

    def _newest(self, subject: Subject) -> Answer:
        """From the leader; without one from any server, and then once more later."""
        try:
            return self._ask(subject)
        except UnknownDatacenter:
            raise
        except (AgentUnreachable, ServerTrouble) as fault:
            if isinstance(fault, AgentUnreachable) and not fault.timed_out:
                raise
            answer = self._ask(subject, stale=True)
            self._reader.want_later(subject.name, AGAIN)
            return answer

    def _ask(self, subject: Subject, *, stale: bool = False) -> Answer:
        """Not a query that blocks, but one that can be cut short."""
        return self._source.wait(
            subject.path,
            index=0,
            seconds=WAIT,
            interrupt=self._closing,
            stale=stale,
            **subject.params,
        )
