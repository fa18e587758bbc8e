"""
From the documents about intentions to the set that a service asks.

Two documents matter: that of the service, and that of `*`.  While either cannot be used the last
good set stays; before there was one, nobody is let in.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Literal, TypeAlias

from meshlib.control.documents import decode
from meshlib.control.intentions import KIND, ServiceIntentions
from meshlib.control.registry import Document
from meshlib.errors import ConfigError
from meshlib.trust.intention import ANYBODY, Intention, IntentionSet
from meshlib.watch import Watch

log = logging.getLogger("meshlib.control")

Default: TypeAlias = Literal["allow", "deny"]
Documents: TypeAlias = Callable[[str], Watch[tuple[Document, ...]]]


class DocumentIntentions:
    """The intentions that documents say, one watch a service."""

    def __init__(self, documents: Documents, default: Default) -> None:
        self._documents, self._default = documents, default
        self._watches: dict[str, Watch[IntentionSet]] = {}
        self._lock = threading.RLock()

    def intentions(self, service: str) -> Watch[IntentionSet]:
        """Who may call `service`; the same watch for the same name."""
        with self._lock:
            if service not in self._watches:
                self._watches[service] = self._follow(service)
            return self._watches[service]

    def _follow(self, service: str) -> Watch[IntentionSet]:
        found = Watch(IntentionSet.unknown(service))
        about = [self._documents(name) for name in (service, ANYBODY)]
        one_at_a_time = threading.Lock()

        def compile_them() -> None:
            with one_at_a_time:
                if not all(each.ready for each in about):
                    return
                given = tuple(document for each in about for document in each.value)
                try:
                    found.set(intention_set(service, given, self._default))
                except ConfigError as exc:
                    log.error("intentions of %s are not used: %s", service, exc)  # noqa: TRY400

        for each in about:
            each.subscribe(compile_them)
        return found


def intention_set(
    service: str, documents: tuple[Document, ...], default: Default = "allow"
) -> IntentionSet:
    """Who may call `service`, by the documents of that name and of `*`.  Raises ConfigError."""
    intentions: list[Intention] = []
    for document in documents:
        if document.kind == KIND and document.name in {service, ANYBODY}:
            entry = decode(document)
            if isinstance(entry, ServiceIntentions):
                intentions += entry.intentions(document.name)
    return IntentionSet(service, tuple(intentions), default == "allow")
