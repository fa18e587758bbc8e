"""
The plans of services, each followed as the documents it is made of change.

A plan is made of the documents of its own service and of those that its legs lead to.  Documents
that cannot be used are refused, and the last good ones stay: first by themselves, so that a mistake
in one service's documents does not reach the plans of others, then together, where the one whose
change closed a circle is refused.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import TypeAlias

from meshlib.config import RetryConfig, UpstreamConfig
from meshlib.control.compile import compile_plan
from meshlib.control.one_at_a_time import OneAtATime
from meshlib.control.plan import ServicePlan
from meshlib.control.registry import ConfigSource, Document
from meshlib.control.routes import Caller
from meshlib.errors import ConfigError
from meshlib.observe.events import Listener
from meshlib.watch import Watch

Documents: TypeAlias = tuple[Document, ...]

_log = logging.getLogger("meshlib.config")


class Plans:
    """Plans by the name of their service, each made once.  Thread-safe.

    What the program says of a service in code (`overrides`) is what its routes start from.
    """

    def __init__(
        self,
        source: ConfigSource,
        caller: Caller,
        overrides: Mapping[str, UpstreamConfig],
        listener: Listener | None = None,
    ) -> None:
        self._source, self._caller, self._listener = source, caller, listener
        self._retries = {name: config.retry for name, config in overrides.items()}
        self._lock = threading.RLock()
        self._good: dict[str, Watch[Documents]] = {}
        self._plans: dict[str, Watch[ServicePlan]] = {}

    def known(self, service: str) -> ServicePlan | None:
        """The plan of a service that somebody asked for before."""
        plan = self._plans.get(service)
        return None if plan is None else plan.value

    def plan(self, service: str) -> Watch[ServicePlan]:
        """The plan of a service, followed from now on."""
        with self._lock:
            if service not in self._plans:
                self._plans[service] = self._new_plan(service)
            return self._plans[service]

    def _new_plan(self, service: str) -> Watch[ServicePlan]:
        plan = Watch(compile_plan(service, (), self._caller))
        documents, retry = self.documents(service), self._retries.get(service)
        followed = {service: documents}

        def compile_it() -> None:
            asked: dict[str, Watch[Documents]] = {}

            def others(name: str) -> Documents:
                return asked.setdefault(name, self.documents(name)).value

            try:
                made = self._compiled(service, documents.value, retry, others)
            except ConfigError as error:
                self._refused(service, error)
                made = plan.value
            if all(each.ready for each in asked.values()):
                plan.set(made)
            for name in asked.keys() - followed.keys():
                followed[name] = asked[name]
                asked[name].subscribe(again)

        again = OneAtATime(compile_it)
        documents.subscribe(again)
        return plan

    def documents(self, service: str) -> Watch[Documents]:
        """The last documents of a service that could be used by themselves."""
        with self._lock:
            if service not in self._good:
                self._good[service] = self._new_documents(service)
            return self._good[service]

    def _new_documents(self, service: str) -> Watch[Documents]:
        said, good = self._source.documents(service), Watch[Documents](())

        def check() -> None:
            documents = said.value
            try:
                self._compiled(service, documents, self._retries.get(service))
            except ConfigError as error:
                self._refused(service, error)
                documents = good.value
            good.set(documents)

        said.subscribe(OneAtATime(check))
        return good

    def _compiled(
        self,
        service: str,
        documents: Documents,
        retry: RetryConfig | None,
        others: Callable[[str], Documents] = lambda _: (),
    ) -> ServicePlan:
        return compile_plan(service, documents, self._caller, retry=retry, others=others)

    def _refused(self, service: str, error: ConfigError) -> None:
        _log.error("documents of %s are not used, the last good ones stay: %s", service, error)
        if self._listener is not None:
            kind = error.path.partition("/")[0]
            self._listener.document_refused(kind, service, error)
