"""Which other trust domains a mesh with the embedded CA trusts: `bundles` in its folder."""

from __future__ import annotations

from pathlib import Path

from meshlib.control.federation import FOLDER, SUFFIX, parse_bundle
from meshlib.control.local.folder import private_folder, sync_folder, write_private
from meshlib.control.local.vault import Vault
from meshlib.errors import ConfigError
from meshlib.trust.bundle import TrustBundle
from meshlib.trust.spiffe import SpiffeId
from meshlib.trust.verify import UNREADABLE


def trust_domain(vault: Vault, domain: str, pem: bytes) -> TrustBundle:
    """Have every process trust these roots for a domain, and no others, within a second or two.

    Raises ConfigError for what is no bundle, ControlError.
    """
    with vault.lock():
        own = vault.current().state.trust_domain
        try:
            found = parse_bundle(domain, pem, own)
        except UNREADABLE as exc:
            if isinstance(exc, ConfigError):
                raise
            raise ConfigError("bundle", domain, f"roots of another domain in PEM ({exc})") from exc
        write_private(private_folder(vault.folder / FOLDER) / f"{domain}{SUFFIX}", pem)
        return found


def distrust_domain(vault: Vault, domain: str) -> bool:
    """The reverse; returns whether it was trusted.  Raises ConfigError for a bad name."""
    file = _file(vault, domain)
    with vault.lock():
        if not file.exists():
            return False
        file.unlink()
        sync_folder(file.parent)
        return True


def _file(vault: Vault, domain: str) -> Path:
    return vault.folder / FOLDER / f"{SpiffeId(domain).trust_domain}{SUFFIX}"
