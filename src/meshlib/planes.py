"""Which control plane the settings name; each is imported only where it is wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from meshlib.control.registry import IdentitySource
from meshlib.errors import ConfigError
from meshlib.runtime import real_clock
from meshlib.settings import Settings

if TYPE_CHECKING:
    import httpx

    from meshlib.config import ServingConfig
    from meshlib.control.consul.address import ConsulAddress
    from meshlib.control.jwks import Jwks
    from meshlib.control.registry import ControlPlane
    from meshlib.serve.observed import Observed
    from meshlib.serve.tokens import Tokens
    from meshlib.watch import Watch

Event = Callable[[str, str, str], None]
"""As `Listener.control_event`: kind, subject, text."""


def control_plane(
    settings: Settings,
    event: Event,
    *,
    consul: ConsulAddress | None = None,
    token: str | None = None,
) -> ControlPlane:
    """The control plane; `consul` is its address where it was given as an object.

    Raises ConfigError, RegistryUnavailable.
    """
    from meshlib.control.consul.address import ConsulAddress

    if consul is not None:
        return _consul(settings, event, replace(consul, token=token or consul.token))
    if settings.control != "local":
        return _consul(settings, event, ConsulAddress.parse(settings.control, token=token))
    if token is not None:
        hint = "say where Consul is: control='consul://127.0.0.1:8500', or MESHLIB_CONTROL"
        raise ConfigError("token", "...", "none, as control is 'local'", hint=hint)
    return _local(settings, event)


def _consul(settings: Settings, event: Event, address: ConsulAddress) -> ControlPlane:
    from meshlib.control.consul.plane import ConsulControl
    from meshlib.control.local.plane import default_home

    try:
        return ConsulControl(
            address,
            home=Path(settings.home) if settings.home else default_home(),
            name=settings.service,
            default_intentions=settings.default_intentions or None,
            event=event,
        )
    except ModuleNotFoundError as exc:
        hint = "pip install 'meshlib[consul]'"
        raise ConfigError("control", str(address), f"{exc.name} installed", hint=hint) from exc


def _local(settings: Settings, event: Event) -> ControlPlane:
    from meshlib.control.local.plane import LocalControl

    home = settings.home
    return LocalControl(
        Path(home) if home else None,
        trust_domain=settings.trust_domain,
        default_intentions=settings.default_intentions or "allow",
        event=event,
    )


def tokens(
    serving: Watch[ServingConfig], client: Callable[[], httpx.Client], event: Event
) -> Tokens:
    """What checks tokens of end users; keys are read through a `client` of the mesh or by https."""
    from meshlib.serve.tokens import Tokens

    return Tokens(serving, partial(_jwks, client, event))


def _jwks(client: Callable[[], httpx.Client], event: Event) -> Jwks:
    from meshlib.adapters.published import Published
    from meshlib.control.https import fetch_https

    try:
        from meshlib.control.jwks import Jwks
        from meshlib.trust.keyset import LARGEST
    except ModuleNotFoundError as exc:
        hint = "pip install 'meshlib[jwt]'"
        raise ConfigError("serving.jwt", exc.name, "PyJWT to be installed", hint=hint) from exc
    fetch = Published(client, partial(fetch_https, most=LARGEST))
    return Jwks(fetch, clock=real_clock, event=event)


def observed(settings: Settings, instance: Callable[[], str]) -> Observed:
    """Where it is written down what was asked for in audit mode."""
    from meshlib.control.local.plane import default_home
    from meshlib.control.observed import ObservedFolder
    from meshlib.serve.observed import Observed

    folder = ObservedFolder(Path(settings.home) if settings.home else default_home())
    return Observed(lambda page: folder.write(settings.service, instance(), page))


class OwnedIdentity(IdentitySource, Protocol):
    """An identity that does not come from the control plane, and is closed with the mesh."""

    def close(self) -> None:
        """Stop following it."""


def issuer(settings: Settings, event: Event) -> OwnedIdentity:
    """What the setting `identity` names.  Raises ConfigError."""
    kind, _, where = settings.identity.partition(":")
    return _workload_api(where, event) if kind == "spiffe" else _files(where, event)


def _files(where: str, event: Event) -> OwnedIdentity:
    import time

    from meshlib.control.files import FilesIdentity

    return FilesIdentity(Path(where).expanduser(), now=time.time, event=event)


def _workload_api(where: str, event: Event) -> OwnedIdentity:
    try:
        from meshlib.control.spiffe.source import WorkloadIdentity
    except ModuleNotFoundError as exc:
        hint = "pip install 'meshlib[spiffe]'"
        expected = f"{exc.name} installed"
        raise ConfigError("identity", f"spiffe:{where}", expected, hint=hint) from exc
    return WorkloadIdentity(where, event=event)
