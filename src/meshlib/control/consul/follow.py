"""
`Follower`: a daemon thread that keeps one blocking query going.

The decisions are in `pace`; tenacity drives the reconnects with our jitter, and the client's
breaker says when an agent that is not there is asked at all.  A forked child goes on with threads
and connections of its own.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Protocol

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_when_event_set,
)

from meshlib.control.consul.faults import AgentUnreachable, ConsulFault, CutShort
from meshlib.control.consul.http import WAIT, Answer, Interrupt, Param
from meshlib.control.consul.pace import BURST, INTERVAL, Pace, Position, reconnect_pause
from meshlib.control.local.atfork import ForkLock
from meshlib.errors import MeshError
from meshlib.runtime import Clock, Rng, new_rng, real_clock

log = logging.getLogger("meshlib.control")

LAST_WORDS = 2.0
"""Seconds `stop` waits for a callback that is under way."""

Heard = Callable[[Answer], None]
Failed = Callable[[ConsulFault], None]


def _nobody(fault: ConsulFault) -> None:
    del fault


@dataclass(slots=True)
class _Life:
    """What one thread of a follower has to itself."""

    pace: Pace
    position: Position = field(default_factory=Position)
    stopping: threading.Event = field(default_factory=threading.Event)
    interrupt: Interrupt = field(default_factory=Interrupt)
    thread: threading.Thread | None = None


class Waits(Protocol):
    """What a follower asks: a `ConsulClient`, or what stands before one."""

    def wait(
        self,
        path: str,
        *,
        index: int,
        seconds: float = WAIT,
        interrupt: Interrupt | None = None,
        **params: Param,
    ) -> Answer:
        """One blocking query, as `ConsulClient.wait`."""


class Follower:
    """Follows `path` from `start` until `stop`.

    `heard` gets every answer that may say something new, on the thread of the follower; Consul
    also wakes watchers for what does not concern them, so compare contents.  The first answer, and
    the first one after an outage, are always heard.  What is not there (yet) is an answer with
    status 404.  `failed` is told of an outage once, and again when its reason changes; the follower
    goes on trying.
    """

    def __init__(  # noqa: PLR0913 - a watch has that many sides; all but three have defaults
        self,
        client: Waits,
        path: str,
        *,
        heard: Heard,
        params: Mapping[str, str | None] | None = None,
        failed: Failed = _nobody,
        seconds: float = WAIT,
        interval: float = INTERVAL,
        burst: int = BURST,
        clock: Clock = real_clock,
        rng: Rng | None = None,
        name: str = "",
    ) -> None:
        self.path, self.params = path, dict(params or {})
        self.heard_at = -inf
        """When the agent last confirmed what was heard, on `clock`."""
        self.fault: ConsulFault | None = None
        """Why it is out of touch; None while it is not."""
        self._client, self._heard, self._failed = client, heard, failed
        self._seconds, self._interval, self._burst = seconds, interval, burst
        self._clock, self._rng = clock, rng or new_rng()
        self._name = name or f"meshlib-consul{path}"
        self._turn = ForkLock(0, child=self._in_child)
        self._starting = ForkLock(1)
        self._life: _Life | None = None

    def start(self) -> None:
        """Start the thread, unless it runs."""
        with self._starting:
            if self._life is None:
                pace = Pace(self._clock, interval=self._interval, burst=self._burst)
                self._life = life = _Life(pace)
                life.thread = threading.Thread(
                    target=self._follow, args=(life,), name=self._name, daemon=True
                )
                life.thread.start()

    def stop(self) -> None:
        """End the thread and its query; the agent remembers the query until its wait is over.

        No callback begins after this; one that is under way is waited for a moment.
        """
        with self._starting:
            life, self._life = self._life, None
        if life is None or life.thread is None:
            return
        life.stopping.set()
        life.interrupt.set()
        if life.thread is not threading.current_thread():
            life.thread.join(LAST_WORDS)

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._life is not None

    def __repr__(self) -> str:
        return f"<Follower {self.path} {self.fault.what if self.fault else 'in touch'}>"

    def _follow(self, life: _Life) -> None:
        retrying = Retrying(
            wait=self._pause_after,
            stop=stop_when_event_set(life.stopping),
            sleep=sleep_using_event(life.stopping),
            retry=retry_if_exception_type(Exception),
            after=partial(self._lost, life),
            retry_error_callback=_give_up,
        )
        while not life.stopping.is_set():
            answer = retrying(self._ask, life)
            if answer is not None:
                self._take(life, answer)
                life.stopping.wait(life.pace.pause(indexed=bool(answer.index)))

    def _ask(self, life: _Life) -> Answer | None:
        return self._client.wait(
            self.path,
            index=life.position.index,
            seconds=self._seconds,
            interrupt=life.interrupt,
            **self.params,
        )

    def _take(self, life: _Life, answer: Answer) -> None:
        news = life.position.advance(answer.index)
        self.heard_at = self._clock()
        if self.fault is not None:
            self.fault = None
            log.info("%s is followed again", self.path)
        if news:
            self._tell(life, self._heard, answer)

    def _lost(self, life: _Life, state: RetryCallState) -> None:
        """Called by tenacity after each attempt that failed."""
        error = state.outcome.exception() if state.outcome else None
        life.position.lose()
        if error is None or life.stopping.is_set() or isinstance(error, CutShort):
            return
        fault = error if isinstance(error, ConsulFault) else _unforeseen(self.path, error)
        before, self.fault = self.fault, fault
        if str(before) != str(fault):
            level = logging.INFO if isinstance(fault, AgentUnreachable) else logging.WARNING
            log.log(level, "%s is out of touch, trying on: %s", self.path, fault)
            self._tell(life, self._failed, fault)

    def _pause_after(self, state: RetryCallState) -> float:
        return reconnect_pause(state.attempt_number, self._rng)

    def _tell(self, life: _Life, callback: Callable[..., None], what: object) -> None:
        try:
            with self._turn:  # a fork does not catch it in the middle
                if not life.stopping.is_set():
                    callback(what)
        except Exception:
            log.exception("a callback for %s failed", self.path)

    def _in_child(self) -> None:
        """Threads are not inherited, and chance must not be: siblings would reconnect in step."""
        was_running, self._life = self._life is not None, None
        if isinstance(self._rng, random.Random):
            self._rng.seed()
        if was_running:
            self.start()


def _unforeseen(path: str, error: BaseException) -> ConsulFault:
    """For instance a token file that is gone: said, and tried again like any other failure."""
    if not isinstance(error, MeshError):
        log.error("%s could not be followed", path, exc_info=error)
    return ConsulFault(f"{path} cannot be followed", why=str(error))


def _give_up(_: RetryCallState) -> None:
    return None
