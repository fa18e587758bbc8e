"""
Endpoints and documents given in code, or in a file that is read again when it changes.

What is written there cannot be changed through the mesh.  `static_file` shows what a file says.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from meshlib.control.authorization import Default, DocumentIntentions
from meshlib.control.documents import validate as validate_document
from meshlib.control.local.atfork import ForkLock
from meshlib.control.local.worker import Worker
from meshlib.control.registry import Document
from meshlib.control.static_file import Content, listed, load
from meshlib.errors import ConfigError, ControlError, RegistryUnavailable
from meshlib.model import Neg, Resolution
from meshlib.trust.intention import IntentionSet
from meshlib.watch import Watch

log = logging.getLogger("meshlib.control")

POLL = 0.5
"""Seconds between two looks at the file's time stamp: a person saved it."""
SETTLE = 0.1
"""Seconds for which a changed file must stay the same: an editor writes it in less."""


class StaticDiscovery:
    """Discovery and documents that nobody can change at run time, save by editing the file.

    Raises ConfigError, naming file and field, for what cannot be used.  A later edit counts once
    the file has stayed as it is for a moment, as the beginning of a file can be one, too; one that
    cannot be used, or is empty, is logged, and what was read before stays.
    """

    def __init__(
        self,
        services: Mapping[str, Sequence[str | Mapping[str, Any]]] | None = None,
        *,
        file: Path | None = None,
        default_intentions: Default = "allow",
        validate: Callable[[Document], None] = validate_document,
    ) -> None:
        if (services is None) == (file is None):
            raise ConfigError("services", services, "either services or a file")
        self._file, self._validate = file, validate
        self._endpoints: dict[str, Watch[Resolution]] = {}
        self._documents: dict[str, Watch[tuple[Document, ...]]] = {}
        self._lock = ForkLock(2)
        self._stamp = self._seen = _stamp(file) if file else None
        self._content = self._read(file) if file else Content(listed(services or {}, "services"))
        self._intentions = DocumentIntentions(self.documents, default_intentions)
        self._worker = Worker("meshlib-static", self.poll_once, inherit=True)

    def endpoints(self, service: str, datacenter: str = "") -> Watch[Resolution]:
        """The endpoints of a service; all of them are in one place."""
        if datacenter:
            return Watch(Neg(), ready=True)
        with self._lock:
            first = Watch(self._content.resolve(service), ready=True)
            found = self._endpoints.setdefault(service, first)
        self._follow()
        return found

    def services(self) -> tuple[str, ...]:
        """The names known now, sorted."""
        return tuple(sorted(self._content.services))

    def documents(self, service: str) -> Watch[tuple[Document, ...]]:
        """All documents named `service`, sorted by kind."""
        with self._lock:
            first = Watch(self._content.named(service), ready=True)
            found = self._documents.setdefault(service, first)
        self._follow()
        return found

    def intentions(self, service: str) -> Watch[IntentionSet]:
        """Who may call a service; where no document says so, the default does."""
        return self._intentions.intentions(service)

    def get(self, kind: str, name: str) -> Document | None:
        """One document."""
        named = self._content.named(name)
        return next((document for document in named if document.kind == kind), None)

    def put(self, document: Document, *, cas: bool = False) -> bool:
        """Refuse: raises ControlError."""
        raise self._refusal(document.kind, document.name)

    def delete(self, kind: str, name: str) -> bool:
        """Refuse: raises ControlError."""
        raise self._refusal(kind, name)

    def poll_once(self) -> float:
        """Read the file again if it changed; returns the seconds until the next look.

        Raises RegistryUnavailable when it is gone.
        """
        if self._file is None or (stamp := _stamp(self._file)) == self._stamp:
            return POLL
        if stamp != self._seen:
            self._seen = stamp
            return SETTLE
        content = self._edited(self._file)
        if _stamp(self._file) == stamp:
            self._stamp = stamp
            self._take(content)
        return POLL

    def close(self) -> None:
        """Stop following the file."""
        self._worker.stop()

    def _follow(self) -> None:
        if self._file:
            self._worker.start()

    def _edited(self, file: Path) -> Content | ConfigError:
        try:
            if not file.stat().st_size:
                return ConfigError(str(file), "", "anything at all")
            return self._read(file)
        except ConfigError as exc:
            return exc

    def _take(self, content: Content | ConfigError) -> None:
        if isinstance(content, ConfigError):
            log.warning("an edit is not usable, what was read before stays: %s", content)
        else:
            self._content = content
            self._tell()

    def _read(self, file: Path) -> Content:
        content = load(file)
        for document in content.documents:
            self._validate(document)
        return content

    def _tell(self) -> None:
        with self._lock:
            content = self._content
            endpoints, documents = dict(self._endpoints), dict(self._documents)
        for service, watch in endpoints.items():
            watch.set(content.resolve(service))
        for name, found in documents.items():
            found.set(content.named(name))

    def _refusal(self, kind: str, name: str) -> ControlError:
        where = f"edit {self._file}" if self._file else "change the code that lists the services"
        what = f"{kind}/{name} cannot be written"
        return ControlError(what, why="this control plane is static", hint=where)


def _stamp(file: Path) -> tuple[int, int, int]:
    """What differs after an edit, in place or by replacement."""
    try:
        found = file.stat()
    except OSError as exc:
        raise RegistryUnavailable(f"cannot read {file}", why=str(exc)) from exc
    return found.st_mtime_ns, found.st_ino, found.st_size
