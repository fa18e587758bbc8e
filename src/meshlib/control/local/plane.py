"""
`LocalControl`: the embedded control plane, all five protocols from one state folder.

Nothing runs until it is used: no thread before the first watch or lease, no certificate authority
before the first credentials.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from meshlib.control import documents
from meshlib.control.authorization import Default, DocumentIntentions
from meshlib.control.local.alarm import Event, nobody_listens
from meshlib.control.local.identity import LocalIdentity
from meshlib.control.local.registrar import TTL, LocalLease, LocalRegistrar
from meshlib.control.local.store import Store
from meshlib.control.local.watcher import Watcher
from meshlib.control.registry import Document, Registration
from meshlib.model import Neg, Resolution
from meshlib.runtime import new_rng
from meshlib.trust.bundle import Credentials
from meshlib.trust.intention import IntentionSet
from meshlib.watch import Watch

TRUST_DOMAIN = "meshlib.local"


def default_home(environ: Mapping[str, str] = os.environ) -> Path:
    """`$MESHLIB_HOME`, else `meshlib` in the XDG base directory specification's state folder."""
    if home := environ.get("MESHLIB_HOME"):
        return Path(home).expanduser()
    state = environ.get("XDG_STATE_HOME", "")
    # "All paths must be absolute; relative ones should be ignored" (XDG base directories, 0.8)
    base = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    return base / "meshlib"


class LocalControl:
    """The control plane of one machine, kept in a folder that only its owner can read.

    `ttl` is in seconds; `default_intentions` is for callers that no intention names, who are let in
    unless it says "deny"; `validate` raises ConfigError for a document that cannot be used; `event`
    hears of the identity.  Raises ConfigError for a folder that others can read,
    RegistryUnavailable for a damaged store.
    """

    def __init__(
        self,
        home: Path | None = None,
        *,
        trust_domain: str = TRUST_DOMAIN,
        ttl: float = TTL,
        default_intentions: Default = "allow",
        validate: Callable[[Document], None] = documents.validate,
        event: Event = nobody_listens,
    ) -> None:
        self.home = default_home() if home is None else home
        self._validate = validate
        self._store = Store(self.home)
        self._watcher = Watcher(self._store)
        self._intentions = DocumentIntentions(self._watcher.documents, default_intentions)
        self._registrar = LocalRegistrar(self._store, ttl=ttl)
        self._identity = LocalIdentity(
            self.home, trust_domain, now=time.time, rng=new_rng(), event=event
        )

    def register(self, registration: Registration) -> LocalLease:
        """Announce an instance and keep its heartbeat.  Raises RegistryUnavailable, ConfigError."""
        return self._registrar.register(registration)

    def endpoints(self, service: str, datacenter: str = "") -> Watch[Resolution]:
        """The endpoints of a service, followed until `close`; the same watch for the same name."""
        return (
            Watch[Resolution](Neg(), ready=True) if datacenter else self._watcher.endpoints(service)
        )

    def age(self, service: str) -> float | None:
        """Seconds since the store last confirmed what is known of a service; None: not yet."""
        del service  # all of it is read at once
        return self._watcher.age()

    def services(self) -> tuple[str, ...]:
        """The names known now, sorted.  Raises RegistryUnavailable."""
        return self._store.view().services()

    def documents(self, service: str) -> Watch[tuple[Document, ...]]:
        """All documents named `service`, sorted by kind, followed until `close`."""
        return self._watcher.documents(service)

    def intentions(self, service: str) -> Watch[IntentionSet]:
        """Who may call a service; where no document says so, the default does."""
        return self._intentions.intentions(service)

    def get(self, kind: str, name: str) -> Document | None:
        """One document.  Raises RegistryUnavailable."""
        return self._store.get(kind, name)

    def put(self, document: Document, *, cas: bool = False) -> bool:
        """Write a document; with `cas` only if its version is still the stored one.

        Returns whether the store now holds it.  Raises ConfigError, RegistryUnavailable.
        """
        self._validate(document)
        return self._store.put(document, cas=cas)

    def delete(self, kind: str, name: str) -> bool:
        """Remove a document; returns whether there was one.  Raises RegistryUnavailable."""
        return self._store.delete(kind, name)

    @property
    def oldest_tls(self) -> ssl.TLSVersion:
        """Everybody here is this library."""
        return ssl.TLSVersion.TLSv1_3

    def spiffe_id(self, service: str, datacenter: str = "") -> str:
        """The SPIFFE id that instances of `service` prove.  Raises ConfigError."""
        del datacenter  # there is one machine
        return self._identity.spiffe_id(service)

    def server_name(self, service: str, subset: str = "", datacenter: str = "") -> str:
        """Nothing: nobody here routes by it."""
        del service, subset, datacenter
        return ""

    def credentials(self, service: str) -> Watch[Credentials]:
        """The leaf and bundles to speak as `service`.  Raises IdentityUnavailable, ConfigError."""
        return self._identity.credentials(service)

    def overdue(self, service: str) -> bool:
        """Whether the certificate of `service` should have been renewed, and was not."""
        return self._identity.overdue(service)

    def close(self) -> None:
        """Close the leases, stop all threads and let go of the files."""
        self._registrar.close()
        self._watcher.close()
        self._identity.close()
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<LocalControl {self.home}>"
