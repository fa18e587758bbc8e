"""
Configuration from Consul: one `Watch` for each service.

What Consul has compiled for a service is a document of the kind `discovery-chain`; beside it stand
its `service-resolver` and, from the key-value store, its `traffic-policy`.  Written are the entries
themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

from meshlib.control.consul.chains import Chains, chain_path, documents_of, refusal
from meshlib.control.consul.coarse import FINE, Feed, Subject
from meshlib.control.consul.entries import (
    FOLDER,
    KV,
    POLICY,
    ConfigEntries,
    PolicyEntries,
    check,
    policy_of,
)
from meshlib.control.consul.faults import ConsulFault, NotAllowed
from meshlib.control.consul.follow import Follower
from meshlib.control.consul.http import Answer, ConsulClient
from meshlib.control.consul.rules import IntentionDocuments
from meshlib.control.consul.told import Event, Told, unheard
from meshlib.control.consul.triggers import ConfigTrigger
from meshlib.control.intentions import KIND as INTENTIONS
from meshlib.control.local.atfork import ForkLock
from meshlib.control.one_at_a_time import OneAtATime
from meshlib.control.registry import Document
from meshlib.errors import ConfigError
from meshlib.watch import Watch

RANK = 2

Documents: TypeAlias = tuple[Document, ...]
Item: TypeAlias = Mapping[str, Any]


@dataclass(slots=True)
class _Followed:
    """What is known of one service."""

    service: str
    watch: Watch[Documents] = field(default_factory=lambda: Watch[Documents](()))
    compiled: Documents | None = None
    """What Consul has compiled; None: it has not said yet."""
    good: bool = False
    """Whether that is not a refusal."""
    policy: Document | None = None
    """The last one that could be read."""
    publish: Callable[[], None] = field(init=False)


class ConsulDocuments:
    """Follows documents from the first question until `close`; reads and writes them."""

    def __init__(self, client: ConsulClient, *, event: Event = unheard, fine: int = FINE) -> None:
        self._client, self._told = client, Told(event)
        self._entries, self._policies = ConfigEntries(client), PolicyEntries(client)
        self._intentions = IntentionDocuments(client)
        self._feed = Feed(Chains(client), partial(ConfigTrigger, client), name="chains", fine=fine)
        self._followed: dict[str, _Followed] = {}
        self._known: Mapping[str, Item] | None = None
        """Policies by service, as the store has them; None: not read yet."""
        self._lock = ForkLock(RANK)
        self._follower = Follower(
            client,
            f"{KV}/{FOLDER}",
            params={"recurse": None},
            heard=self._policies_heard,
            failed=self._policies_failed,
        )

    # ---- what is read

    def documents(self, service: str) -> Watch[Documents]:
        """What calls to a service follow; the same watch for the same name."""
        with self._lock:
            found = self._followed.get(service)
            if found is not None:
                return found.watch
            new = self._followed[service] = _Followed(service)
            new.publish = OneAtATime(partial(self._publish, new))
        self._follower.start()
        self._feed.follow(
            Subject(
                service,
                chain_path(service),
                heard=partial(self._heard, new),
                failed=partial(self._failed, new),
            )
        )
        return new.watch

    def close(self) -> None:
        """Stop following; the watches keep their last value."""
        self._feed.close()
        self._follower.stop()

    # ---- what is written

    def get(self, kind: str, name: str) -> Document | None:
        """One document.  Raises RegistryUnavailable."""
        if kind == POLICY:
            return self._policies.get(name)
        if kind == INTENTIONS:
            return self._intentions.get(name)
        return self._entries.get(kind, name)

    def put(self, document: Document, *, cas: bool = False) -> bool:
        """Write a document; with `cas` only if its version is still the stored one.

        Returns whether it was written.  Raises ConfigError for one that cannot be honoured, or
        that Consul refuses, RegistryUnavailable.
        """
        if document.kind == INTENTIONS:
            return self._intentions.put(document, cas=cas)
        check(document)
        store = self._policies if document.kind == POLICY else self._entries
        return store.put(document, cas=cas)

    def delete(self, kind: str, name: str) -> bool:
        """Remove a document; returns whether there was one.

        Raises ConfigError if Consul refuses, as others depend on it, RegistryUnavailable.
        """
        if kind == POLICY:
            return self._policies.delete(name)
        if kind == INTENTIONS:
            return self._intentions.delete(name)
        return self._entries.delete(kind, name)

    # ---- how

    def _heard(self, followed: _Followed, answer: Answer) -> None:
        compiled, remarks = documents_of(answer.body)
        self._told.over(followed.service)
        for each in remarks:
            self._told.tell("unknown-field", each, each)
        followed.compiled, followed.good = compiled, True
        followed.publish()

    def _failed(self, followed: _Followed, fault: ConsulFault) -> None:
        """What was good stays; where nothing was, calls are told why if that does not pass."""
        told = self._told.fault(followed.service, fault)
        if told and not followed.good:
            followed.compiled = (refusal(followed.service, str(fault)),)
            followed.publish()

    def _policies_heard(self, answer: Answer) -> None:
        items = answer.body if isinstance(answer.body, list) else []
        if not items:
            self._check_right()
        self._set_policies({str(each["Key"]).removeprefix(FOLDER): each for each in items})

    def _policies_failed(self, fault: ConsulFault) -> None:
        if self._told.fault(FOLDER, fault):
            self._set_policies(self._known or {})

    def _check_right(self) -> None:
        """A list of keys that may not be read is empty; a single key that may not is refused."""
        try:
            self._policies.get("any")
        except NotAllowed as fault:
            self._told.fault(FOLDER, fault)
        except ConsulFault:
            return  # it is asked again

    def _set_policies(self, known: Mapping[str, Item]) -> None:
        before, self._known = self._known, known
        for followed in tuple(self._followed.values()):
            name = followed.service
            if before is None or before.get(name) != known.get(name):
                followed.publish()

    def _publish(self, followed: _Followed) -> None:
        known, compiled = self._known, followed.compiled
        if known is None or compiled is None:
            return
        policy = followed.policy = self._policy(known.get(followed.service), followed)
        documents = (*compiled, policy) if policy else compiled
        followed.watch.set(tuple(sorted(documents, key=lambda each: each.kind)))

    def _policy(self, item: Item | None, followed: _Followed) -> Document | None:
        """What the policy says, not when it was written; if it is no JSON, what it said before."""
        try:
            return None if item is None else replace(policy_of(item), version=0)
        except ConfigError as error:
            self._told.tell("document-refused", f"{POLICY}/{followed.service}", str(error))
            return followed.policy
