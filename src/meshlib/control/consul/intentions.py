"""
Intentions as Consul holds them, followed for the services of this process.

What wakes is a blocking query on the list of intentions, filtered to the service and `*`: up to
Consul 1.8 `/match` has no index, and the largest ModifyIndex of what it returns does not show a
delete.  What counts is always `/match`: it refuses a token that may not read, where the list is
silently thinned out.

The default is Consul's own: to allow without ACLs, or what the ACL default policy or (from 1.18)
`default_intention_policy` says.  Where no intention is for everybody, `/check` is asked about a
caller that does not exist, which shows each of these.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from meshlib.control.authorization import Default
from meshlib.control.consul.faults import AgentUnreachable, ConsulFault, NotAllowed
from meshlib.control.consul.follow import Follower
from meshlib.control.consul.http import TIMEOUT, WAIT, Answer, ConsulClient, Interrupt, Param
from meshlib.control.intentions import decode_intentions
from meshlib.control.local.atfork import ForkLock
from meshlib.errors import ConfigError
from meshlib.trust.intention import ANYBODY, Intention, IntentionSet
from meshlib.watch import Watch

log = logging.getLogger("meshlib.control")

LIST = "/v1/connect/intentions"
MATCH, CHECK = f"{LIST}/match", f"{LIST}/check"
NOBODY = "meshlib-nobody-is-called-this"
"""A caller that no intention names."""
DEFAULT_POLICY = "x-consul-default-acl-policy"
HOME = frozenset({None, "", "default", ANYBODY})
"""Namespaces and partitions that services of ours are in."""

Event = Callable[[str, str, str], None]
"""As `Listener.control_event`: kind, subject, text."""
Keep = Callable[[str, Any], None]
"""Hears what Consul says of a service, to remember it."""


def _unheard(kind: str, subject: str, text: str) -> None:
    del kind, subject, text


def _unkept(service: str, said: Any) -> None:
    del service, said


class ConsulIntentions:
    """One watch a service, each with a follower of its own.

    `default` "deny" is stricter than Consul's own default; "allow" cannot be more lenient.
    """

    def __init__(
        self,
        client: ConsulClient,
        *,
        default: Default | None = None,
        event: Event = _unheard,
        keep: Keep = _unkept,
    ) -> None:
        self._client, self._default, self._event, self._keep = client, default, event, keep
        self._watches: dict[str, Watch[IntentionSet]] = {}
        self._followers: list[Follower] = []
        self._lock = ForkLock(2)

    def intentions(self, service: str) -> Watch[IntentionSet]:
        """Who may call `service`; until Consul has answered, nobody."""
        with self._lock:
            if service not in self._watches:
                self._watches[service] = self._follow(service)
            return self._watches[service]

    def recall(self, service: str, said: Any) -> None:
        """Believe what was kept of an earlier time, unless Consul has answered meanwhile."""
        with self._lock:
            watch = self._watches.get(service)
            if watch is not None and not watch.ready:
                self._read(watch, service, said)

    def close(self) -> None:
        """Stop following; the watches keep their last value."""
        with self._lock:
            followers, self._followers = self._followers, []
        for each in followers:
            each.stop()

    def _follow(self, service: str) -> Watch[IntentionSet]:
        watch = Watch(IntentionSet.unknown(service))

        def heard(answer: Answer) -> None:
            with self._lock:
                understood = self._read(watch, service, answer.body)
            if understood:
                self._keep(service, answer.body)

        follower = Follower(
            _Matching(self._client, service),
            LIST,
            params={"filter": about(service)},
            heard=heard,
            failed=lambda fault: self._lost(service, fault),
            name=f"meshlib-intentions-{service}",
        )
        self._followers.append(follower)
        follower.start()
        return watch

    def _read(self, watch: Watch[IntentionSet], service: str, said: Any) -> bool:
        """Whether it could be understood; what was good stays if not."""
        try:
            watch.set(intention_set(service, said, self._default))
        except ConfigError as exc:
            log.error("intentions of %s are not used: %s", service, exc)  # noqa: TRY400
            self._event("intentions-refused", service, str(exc))
            return False
        return True

    def _lost(self, service: str, fault: ConsulFault) -> None:
        """Unless it is told of the agent as a whole, which its breaker does."""
        if not isinstance(fault, AgentUnreachable):
            kind = "intentions-denied" if isinstance(fault, NotAllowed) else "intentions-trouble"
            self._event(kind, service, str(fault))


class _Matching:
    """Waits on the list, and answers with what `/match` says then.

    Whatever is written after the list was read moves its index, so that nothing is missed.
    """

    def __init__(self, client: ConsulClient, service: str) -> None:
        self._client, self._service = client, service

    def wait(
        self,
        path: str,
        *,
        index: int,
        seconds: float = WAIT,
        interrupt: Interrupt | None = None,
        **params: Param,
    ) -> Answer:
        listed = self._client.wait(
            path, index=index, seconds=seconds, interrupt=interrupt, **params
        )
        if index and listed.index == index:
            return listed
        match = self._client.get(MATCH, timeout=TIMEOUT, by="destination", name=self._service)
        found = (match.body or {}).get(self._service) or []
        body = {"Match": found, "Allow": self._default(found, match)}
        return Answer(200, body, listed.index, match.headers)

    def _default(self, found: Sequence[Mapping[str, Any]], match: Answer) -> bool:
        """Whether Consul lets in whom no intention names.

        With an intention for everybody `/check` cannot tell; then the default is only for requests
        that no permission matches, and for strangers: without a word of Consul's they are denied.
        """
        if any(each.get("SourceName") == ANYBODY for each in found):
            return match.headers.get(DEFAULT_POLICY) == "allow"
        checked = self._client.get(CHECK, source=NOBODY, destination=self._service)
        return (checked.body or {}).get("Allowed") is True


def about(service: str) -> str:
    """The filter for intentions about a service."""
    quoted = service.replace("\\", "\\\\").replace('"', '\\"')
    return f'DestinationName == "{quoted}" or DestinationName == "{ANYBODY}"'


def intention_set(
    service: str, said: Mapping[str, Any], default: Default | None = None
) -> IntentionSet:
    """What `/match` and the default say, as a set.  Raises ConfigError for what is not understood.

    Intentions about callers of other namespaces, partitions and peers are of no service of ours;
    since they cannot be told apart here, no such caller is let in while there are any.
    """
    ours = [each for each in said["Match"] if not _foreign(each)]
    found = [one for number, each in enumerate(ours) for one in _read(each, service, number)]
    allow = bool(said["Allow"]) and default != "deny"
    why = "the default of this service" if default else "so says Consul, where no intention does"
    strangers = len(ours) == len(said["Match"])
    return IntentionSet(service, tuple(found), allow, why, strangers)


def _foreign(item: Mapping[str, Any]) -> bool:
    places = item.get("SourceNS"), item.get("SourcePartition")
    return bool(item.get("SourcePeer")) or not HOME.issuperset(places)


def _read(item: Mapping[str, Any], service: str, number: int) -> tuple[Intention, ...]:
    path = f"{MATCH}?name={service}[{number}]"
    if group := item.get("SourceSamenessGroup"):
        raise ConfigError(f"{path}.SourceSamenessGroup", group, "a service, or *, as the source")
    source = {
        "Name": item.get("SourceName"),
        "Action": item.get("Action") or None,
        "Permissions": item.get("Permissions") or [],
        "Type": item.get("SourceType") or "consul",
    }
    body = {"Sources": [_said(source)], "JWT": _said(item.get("JWT"))}
    return decode_intentions(item.get("DestinationName") or service, body, path=path)


def _said(value: Any) -> Any:
    """Without what is null: Go writes it for empty lists."""
    if isinstance(value, Mapping):
        return {key: _said(each) for key, each in value.items() if each is not None}
    return [_said(each) for each in value] if isinstance(value, list) else value
