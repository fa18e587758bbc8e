"""What state the CA is in, for people: nothing is changed, and nothing is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshlib.control.local.authorities import Authority, Role, State, droppable_at, utc
from meshlib.control.local.certs import fingerprint
from meshlib.control.local.folder import read_private
from meshlib.control.local.vault import Loaded, Vault

if TYPE_CHECKING:
    from cryptography import x509

ROTATE_AT = 2 / 3
"""Share of a root's life after which it is time for the next one."""


@dataclass(frozen=True, slots=True)
class RootStatus:
    """One root; times are Unix time."""

    generation: int
    role: Role
    fingerprint: str
    not_before: float
    not_after: float
    issuing_not_after: float | None
    """Of the certificate that signs leaves beneath it."""


@dataclass(frozen=True, slots=True)
class CAStatus:
    """A whole CA."""

    folder: str
    trust_domain: str
    roots: tuple[RootStatus, ...]
    droppable_at: float | None
    """When the root that retires can be dropped; None when none does."""
    next: str
    """What there is to do, a command; empty: nothing."""
    warnings: tuple[str, ...]


def survey(vault: Vault, now_unix: float) -> CAStatus:
    """Look.  Raises IdentityUnavailable, ConfigError for a file that others can read."""
    loaded = vault.current()
    state = loaded.state
    for each in state.authorities:  # what does not sign is not read otherwise
        read_private(vault.folder / f"root-{each.generation}-key.pem")
    retiring = state.retiring
    drop = None if retiring is None else droppable_at(state, retiring)
    return CAStatus(
        str(vault.folder),
        state.trust_domain,
        tuple(_root(loaded, each) for each in state.authorities),
        drop,
        _next(state, drop, now_unix),
        tuple(_warnings(loaded.root.certificate, state.active, now_unix)),
    )


def signer_of(chain: list[x509.Certificate], loaded: Loaded) -> int | None:
    """The generation of the root that vouches for a chain, leaf first; None: another CA's."""
    if len(chain) < 2:
        return None
    leaf, issuing = chain[:2]
    for generation, root in loaded.roots.items():
        try:
            issuing.verify_directly_issued_by(root)
            leaf.verify_directly_issued_by(issuing)
        except Exception:  # noqa: BLE001, S112 - whatever is wrong with it, this root did not sign it
            continue
        return generation
    return None


def _root(loaded: Loaded, authority: Authority) -> RootStatus:
    state, certificate = loaded.state, loaded.roots[authority.generation]
    signs = authority.generation == state.active
    issuing = loaded.issuing.certificate.not_valid_after_utc.timestamp() if signs else None
    return RootStatus(
        authority.generation,
        state.role(authority),
        fingerprint(certificate),
        certificate.not_valid_before_utc.timestamp(),
        certificate.not_valid_after_utc.timestamp(),
        issuing,
    )


def _next(state: State, drop: float | None, now: float) -> str:
    if state.prepared is not None:
        return "meshlib ca rotate activate"
    if drop is None:
        return ""
    return "meshlib ca rotate finish" + (f", after {utc(drop)}" if now <= drop else "")


def _warnings(root: x509.Certificate, generation: int, now: float) -> list[str]:
    since, until = root.not_valid_before_utc.timestamp(), root.not_valid_after_utc.timestamp()
    if now < since:
        return [f"root {generation} is valid from {utc(since)}, which the clock here is before"]
    if now > until:
        return [f"root {generation} expired {utc(until)}: nothing is signed any more"]
    if now > since + ROTATE_AT * (until - since):
        return [f"root {generation} ends {utc(until)}: meshlib ca rotate prepare"]
    return []
