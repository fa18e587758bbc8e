"""
The CA of one machine: a folder with keys, and no daemon.

    root (10 years, path length 2) -> issuing (1 year, path length 0) -> leaf (72 h)

The path length of 2 leaves room for a cross certificate between a new root and the old one
(root -> cross -> issuing), with which `control.local.rotation` replaces a root.  Writers hold a
kernel lock; readers need none (see `control.local.vault`).

A folder that is replaced at run time is noticed: a `LocalCA` goes on with a CA that it knows, or
that one it knows vouches for, and with no other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from meshlib.control.local import authorities, certs
from meshlib.control.local.authorities import LEAF_TTL, Authority, State
from meshlib.control.local.certs import PublicKey
from meshlib.control.local.rotation import ISSUING_TTL, ROOT_TTL, life, write_issuing, write_root
from meshlib.control.local.vault import Loaded, Vault
from meshlib.errors import ConfigError, IdentityUnavailable
from meshlib.trust.bundle import LeafCert, TrustBundle
from meshlib.trust.spiffe import SpiffeId

if TYPE_CHECKING:
    from cryptography import x509

__all__ = ["ISSUING_TTL", "LEAF_TTL", "ROOT_TTL", "AnotherCA", "LocalCA"]

logger = logging.getLogger("meshlib.identity")

ISSUING_RENEWAL = 2 / 3
"""Share of its life after which the issuing certificate is replaced."""


class AnotherCA(IdentityUnavailable):
    """The CA in the folder is not the one that was there, and nothing proves that it follows it.

    `found` is the fingerprint of its root.
    """

    def __init__(self, folder: Path, held: x509.Certificate, found: x509.Certificate) -> None:
        self.found = certs.fingerprint(found)
        super().__init__(
            f"the CA in {folder} was replaced by another one",
            why=f"its root is {self.found[:16]}, this process trusts {certs.fingerprint(held)[:16]}"
            " and goes on with the certificate it has",
            hint="restore the folder, or restart every process of the mesh to trust the new one",
        )


class LocalCA:
    """Makes leaves for the workloads of one trust domain.

    `now` gives Unix time; `leaf_ttl` is in seconds.  Any number of threads and processes may use
    one folder; the first makes the keys, unless it does not `create`.  Raises ConfigError for a bad
    trust domain or a folder that others can read, IdentityUnavailable when the state in it is
    damaged or missing.
    """

    def __init__(
        self,
        folder: Path,
        trust_domain: str,
        *,
        now: Callable[[], float],
        leaf_ttl: float = LEAF_TTL,
        create: bool = True,
    ) -> None:
        SpiffeId(trust_domain)
        longest = ISSUING_TTL * (1 - ISSUING_RENEWAL)
        if not 1 <= leaf_ttl <= longest:
            raise ConfigError("leaf_ttl", leaf_ttl, f"1 to {longest:.0f} seconds")
        self._vault = Vault(folder, create=create)
        self._trust_domain = trust_domain
        self._now = now
        self._leaf_ttl = leaf_ttl
        self._loaded = self._open(create=create)

    def bundle(self) -> TrustBundle:
        """The roots to trust, as they stand on disk.

        Raises AnotherCA, IdentityUnavailable, ConfigError, ControlError.
        """
        return TrustBundle(self._trust_domain, self._current().ders)

    def signing(self) -> int:
        """The generation of the root beneath which leaves are signed now; raises as `bundle`."""
        return self._current().state.active

    def issue(self, spiffe_id: SpiffeId) -> LeafCert:
        """A new key and its certificate.

        Raises ConfigError for an id that is not a workload of this trust domain, and as `bundle`.
        """
        key = certs.new_key()
        leaf, chain = self._sign(key.public_key(), spiffe_id)
        return LeafCert(
            str(spiffe_id),
            chain,
            certs.key_pem(key),
            leaf.not_valid_before_utc.timestamp(),
            leaf.not_valid_after_utc.timestamp(),
        )

    def issue_csr(self, csr_pem: bytes, *, allowed: SpiffeId) -> bytes:
        """The chain, PEM and leaf first, for a key that stays with the caller.

        `allowed` is the id the caller has proven, and all it can get.  Raises what `issue` raises,
        and ConfigError for a request that asks for anything else.
        """
        key = certs.check_csr(csr_pem, str(allowed))
        loaded = self._current()
        of_the_ca = (*loaded.roots.values(), *loaded.crosses.values(), loaded.issuing.certificate)
        if any(key == each.public_key() for each in of_the_ca):
            raise ConfigError("csr.key", "a key of the CA", "a key of the caller's own")
        return self._sign(key, allowed)[1]

    def _sign(self, key: PublicKey, spiffe_id: SpiffeId) -> tuple[x509.Certificate, bytes]:
        if spiffe_id.trust_domain != self._trust_domain or not spiffe_id.path:
            raise ConfigError("spiffe id", str(spiffe_id), f"a workload of {self._trust_domain!r}")
        # before the state is read: no leaf of a root outlasts its retirement by more than its ttl
        until = life(self._now(), self._leaf_ttl)
        loaded = self._fresh()
        leaf = certs.leaf_certificate(key, str(spiffe_id), until, loaded.issuing)
        return leaf, certs.chain_pem(leaf, *loaded.intermediates)

    # -- state

    def _open(self, *, create: bool) -> Loaded:
        with self._vault.lock():
            if create and self._vault.is_empty():
                self._create()
            loaded = self._checked(self._vault.current())
            longer = authorities.lived_longer(loaded.state, self._leaf_ttl)
            if longer != loaded.state:
                return self._vault.commit(longer)
            self._vault.sweep(loaded.state)  # a crash may have left a key behind
            return loaded

    def _current(self) -> Loaded:
        """The state on disk, read again only when another process committed a new one."""
        held = self._loaded
        found = self._vault.current(held)
        if found is not held:
            self._checked(found)
            if not found.follows(held):
                raise AnotherCA(self._vault.folder, held.root.certificate, found.root.certificate)
            self._loaded = found
        return found

    def _fresh(self) -> Loaded:
        """The state on disk, with an issuing certificate that outlives any leaf."""
        loaded = self._current()
        if not _is_old(loaded.issuing.certificate, self._now()):
            return loaded
        with self._vault.lock():
            loaded = self._current()
            if _is_old(loaded.issuing.certificate, self._now()):
                self._replace_issuing(loaded)
        return self._current()

    def _create(self) -> None:
        first = (Authority(1, 1),)
        state = State(1, self._trust_domain, 1, first, longest_leaf=self._leaf_ttl)
        root, state = write_root(self._vault, state, 1, self._now())
        write_issuing(self._vault, state, root, self._now())
        self._vault.commit(state)
        made = certs.fingerprint(root.certificate)[:16]
        logger.info("made a new CA in %s, its root is %s", self._vault.folder, made)

    def _replace_issuing(self, loaded: Loaded) -> None:
        if loaded.root.certificate.not_valid_after_utc.timestamp() <= self._now():
            raise self._vault.damaged("its root certificate has expired")
        state = authorities.renewed(loaded.state)
        write_issuing(self._vault, state, loaded.root, self._now())
        self._vault.commit(state)

    def _checked(self, loaded: Loaded) -> Loaded:
        if loaded.state.trust_domain != self._trust_domain:
            expected = (
                f"{loaded.state.trust_domain!r}, the domain of the CA in {self._vault.folder}"
            )
            raise ConfigError("trust_domain", self._trust_domain, expected)
        return loaded


def _is_old(certificate: x509.Certificate, now_unix: float) -> bool:
    since = certificate.not_valid_before_utc.timestamp()
    until = certificate.not_valid_after_utc.timestamp()
    return now_unix > since + ISSUING_RENEWAL * (until - since)
