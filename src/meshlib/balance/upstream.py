"""
A destination as one process sees it: who serves it, how they are doing, and who picks.

The writers (discovery, the route table, the configuration, a breaker that moves) put a new
immutable picker in place; a request reads it with one attribute load and never waits for them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from math import inf
from types import MappingProxyType
from typing import TypeAlias, TypeVar

from meshlib.balance.build import NOWHERE, build_picker
from meshlib.balance.elsewhere import Elsewhere
from meshlib.balance.load import EndpointState, Key, key_of
from meshlib.balance.panic import view_of
from meshlib.balance.picker import Picker
from meshlib.balance.probing import Probing
from meshlib.balance.session import Sessions
from meshlib.config import SessionConfig, UpstreamConfig
from meshlib.model import (
    HTTP,
    PROTOCOLS,
    Bound,
    Endpoint,
    Failed,
    Locality,
    Pending,
    Resolution,
)
from meshlib.observe.events import Listener
from meshlib.policy.breaker import Breaker, State
from meshlib.policy.poison import PoisonLog
from meshlib.runtime import Clock, Rng
from meshlib.watch import Watch

Predicate: TypeAlias = Callable[[Endpoint], bool]
"""Whether an endpoint belongs to a subset.  Pure and quick."""

Members: TypeAlias = dict[str, tuple[EndpointState, ...]]
"""The endpoints of each subset; those of the empty name are all."""

T = TypeVar("T")

NO_SUBSETS: Mapping[str, Predicate] = MappingProxyType({})


class Upstream:
    """The endpoints of `service`, with what was learned about each, and the pickers over them.

    It is a `Signal`: `ready` once discovery has answered.  An endpoint keeps its state for as
    long as snapshots have its id, host and port; one that is gone is no longer picked, and its
    last requests end in their own time.
    """

    def __init__(
        self,
        service: str,
        clock: Clock,
        rng: Rng,
        config: UpstreamConfig | None = None,
        here: Locality = NOWHERE,
        listener: Listener | None = None,
    ) -> None:
        self.service, self._listener = service, listener
        self._clock, self._rng, self._here = clock, rng, here
        self._config = config or UpstreamConfig()
        self.poison = PoisonLog(clock, self._config.outlier.poison)
        """Requests that are themselves to blame."""
        self._resolution: Watch[Resolution] = Watch(Pending())
        self._subsets = NO_SUBSETS
        self._default = ""
        self._states: dict[Key, EndpointState] = {}
        self._members: Members = {"": ()}
        self._spoken: dict[str, Members] = {}
        self._pickers: Mapping[str, Mapping[str, Picker]] = {}
        self._elsewhere: Mapping[str, Mapping[str, Elsewhere]] = {}
        # Two locks, so that predicates never run under one that a request may wait for.
        self._moved = self._breaker_moved  # bound once, not once for each endpoint
        self._writing = threading.Lock()
        self._installing = threading.Lock()
        self._regroup()

    # ------------------------------------------------------------------ what a request reads

    def picker(self, subset: str = "", protocol: str = HTTP) -> Picker | None:
        """The picker of a subset, by default the default one; None: there is no such subset.

        It is over those who may speak the protocol, or over all if there are none.
        """
        return self._pickers[protocol].get(subset)

    def elsewhere(
        self, subset: str, tried: Sequence[Endpoint], protocol: str = HTTP
    ) -> Picker | None:
        """The picker of a subset for a call that shall leave the localities it has tried.

        None: nobody stands elsewhere and is well, or a strict session says who it must be.
        """
        strict = self._config.session is not None and self._config.session.strict
        found = None if strict else self._elsewhere[protocol].get(subset)
        return None if found is None else found.picker(tried)

    @property
    def resolution(self) -> Resolution:
        """What discovery said last that was of use."""
        return self._resolution.value

    @property
    def ready(self) -> bool:
        """Whether discovery has answered."""
        return self._resolution.ready

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back after each new resolution, now if there is one; returns how to stop that."""
        return self._resolution.subscribe(callback)

    def states(self) -> tuple[EndpointState, ...]:
        """The endpoints known now, in the snapshot's order, each with its breaker and load."""
        return self._members[""]

    def members(self, subset: str, protocol: str = HTTP) -> tuple[EndpointState, ...]:
        """Those of them whom a call to a subset may reach; the empty name: the default one."""
        return self._spoken[protocol].get(subset or self._default, ())

    @property
    def session(self) -> SessionConfig | None:
        """How a reply tells its caller which endpoint it got, if it shall."""
        return self._config.session

    @property
    def panicking(self) -> bool:
        """Whether so many endpoints fail that their breakers are overruled."""
        return view_of(self.states(), self._config.outlier).doubted

    # ------------------------------------------------------------------ what writers change

    def update(self, resolution: Resolution) -> None:
        """Take over what discovery says.  One writer.

        Failed and Pending say nothing about endpoints: a good snapshot serves however old it is.
        """
        if isinstance(resolution, Pending) or resolution == self.resolution:
            return
        if isinstance(resolution, Failed) and isinstance(self.resolution, Bound):
            return
        known = resolution.snapshot.endpoints if isinstance(resolution, Bound) else ()
        with self._writing:
            self._states = {state.key: state for state in map(self._state_of, known)}
            self._regroup()
        self._resolution.set(resolution)

    def set_subsets(self, subsets: Mapping[str, Predicate], *, default: str = "") -> None:
        """Replace the named subsets; who names none gets `default`, which is all if empty."""
        with self._writing:
            self._subsets = MappingProxyType(dict(subsets))
            self._default = default
            self._regroup()

    def configure(self, config: UpstreamConfig) -> None:
        """Balance and break by other settings from now on; what was learned stays."""
        with self._writing:
            self._config = config
            self.poison.configure(config.outlier.poison)
            for state in self._states.values():
                state.breaker.configure(config.outlier)
            self._install()

    # ------------------------------------------------------------------ how

    def _state_of(self, endpoint: Endpoint) -> EndpointState:
        key = key_of(endpoint)
        state = self._states.get(key)
        if state is None:
            return self._new_state(endpoint, key)
        state.endpoint = endpoint
        return state

    def _new_state(self, endpoint: Endpoint, key: Key) -> EndpointState:
        moved = partial(self._moved, key)
        breaker = Breaker(self._clock, self._rng, self._config.outlier, moved)
        since = self._clock() if self._states else -inf
        return EndpointState(endpoint, breaker, since, key)

    def _regroup(self) -> None:
        everybody = tuple(self._states.values())
        members = {name: _chosen(choose, everybody) for name, choose in self._subsets.items()}
        self._members = {**members, "": everybody}
        self._spoken = {each: _who_speak(each, self._members) for each in PROTOCOLS}
        self._install()

    def _install(self) -> None:
        """Build all pickers anew.  Looks at every endpoint, so it is for writers only."""
        with self._installing:
            groups = {id(each): each for each in self._spoken.values()}  # mostly but one
            pickers = {key: self._with_default(self._pickers_of(g)) for key, g in groups.items()}
            others = {key: self._with_default(self._elsewhere_of(g)) for key, g in groups.items()}
            self._pickers = {name: pickers[id(each)] for name, each in self._spoken.items()}
            self._elsewhere = {name: others[id(each)] for name, each in self._spoken.items()}

    def _pickers_of(self, groups: Members) -> dict[str, Picker]:
        return {name: self._built(members) for name, members in groups.items()}

    def _elsewhere_of(self, groups: Members) -> dict[str, Elsewhere]:
        return {name: Elsewhere(members, self._build) for name, members in groups.items()}

    def _with_default(self, made: dict[str, T]) -> dict[str, T]:
        return {**made, "": made.get(self._default, made[""])}

    def _built(self, members: Sequence[EndpointState]) -> Picker:
        return build_picker(self._config, members, self._clock, self._rng, self._here)

    def _build(self, members: Sequence[EndpointState]) -> Picker:
        with self._installing:  # pickers are built by one thread at a time
            return self._built(members)

    def _breaker_moved(self, key: Key, before: State, after: State) -> None:
        """Opening and closing change who is drawn; all else changes only who is probed when.

        The lock makes sure that a time noted here is not lost in a picker being replaced.
        """
        self._tell(key, before, after)
        if State.CLOSED in {before, after}:
            self._install()
            return
        with self._installing:
            state = self._states.get(key)
            for picker in self._all_pickers():
                inner = picker.inner if isinstance(picker, Sessions) else picker
                if state is not None and isinstance(inner, Probing):
                    inner.note(state)

    def _all_pickers(self) -> Iterator[Picker]:
        for group in {id(each): each for each in self._pickers.values()}.values():
            yield from group.values()

    def _tell(self, key: Key, before: State, after: State) -> None:
        state = self._states.get(key)  # None: discovery has taken it away meanwhile
        if self._listener is not None and state is not None:
            listener, endpoint = self._listener, state.endpoint
            listener.endpoint_moved(self.service, endpoint, before.value, after.value)

    def __repr__(self) -> str:
        said = type(self.resolution).__name__.lower()
        states = self.states()
        broken = sum(state.breaker.state is not State.CLOSED for state in states)
        pending = sum(state.pending for state in states)
        return (
            f"<Upstream {self.service!r} {said}: {len(states)} endpoints, {broken} broken, "
            f"{pending} pending, {self._config.balancer}>"
        )


def _chosen(choose: Predicate, states: Iterable[EndpointState]) -> tuple[EndpointState, ...]:
    return tuple(state for state in states if choose(state.endpoint))


def _who_speak(protocol: str, groups: Members) -> Members:
    """Those who may speak a protocol; where nobody does, and where all do, the same as ever."""
    if all(state.endpoint.speaks(protocol) for state in groups[""]):
        return groups
    spoken = {
        name: tuple(state for state in states if state.endpoint.speaks(protocol))
        for name, states in groups.items()
    }
    return spoken if spoken[""] else groups
