"""
The CA of one machine: a folder with keys, and no daemon.

    root (10 years, path length 2) -> issuing (1 year, path length 0) -> leaf (72 h)

`state.json` is the only commit point: certificates and keys are written first, under names that no
committed state uses, so a crash at any moment leaves the old state or the new one.  Writers hold a
kernel lock; readers need none.  The path length of 2 leaves room for a cross certificate between a
new root and the old one (root -> cross -> issuing), with which a root is replaced; `authorities` is
a list for the same reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from meshlib.control.local import certs
from meshlib.control.local.certs import Life, PublicKey, Signer
from meshlib.control.local.folder import locked, private_folder, read_private, write_private
from meshlib.errors import ConfigError, IdentityUnavailable
from meshlib.trust.bundle import LeafCert, TrustBundle
from meshlib.trust.spiffe import SpiffeId

HOUR, DAY = 3600.0, 86400.0

LEAF_TTL = 72 * HOUR
"""Consul's default."""
ISSUING_TTL = 365 * DAY
"""Consul's 8760 h."""
ROOT_TTL = 3650 * DAY
"""Consul's ten years."""
ISSUING_RENEWAL = 2 / 3
"""Share of its life after which the issuing certificate is replaced."""
BACKDATE = 300.0
"""Seconds a certificate is valid before it was made, for clocks that are behind; SPIRE uses 10 s,
Istio 2 min."""
BACKDATE_SHARE = 0.1
"""... but never more than this share of a short life."""

STATE = "state.json"
LOCK = "ca.lock"


class _Authority(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One root, and the number of the issuing certificate in use beneath it."""

    generation: int
    issuing: int


class _State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What state.json holds; `active` is the generation that signs, all others are trusted."""

    version: Literal[1]
    trust_domain: str
    active: int
    authorities: tuple[_Authority, ...]


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A committed state with its certificates and keys."""

    state: _State
    raw: bytes
    roots: frozenset[bytes]
    root: Signer
    issuing: Signer


class LocalCA:
    """Makes leaves for the workloads of one trust domain.

    `now` gives Unix time; `leaf_ttl` is in seconds.  Any number of threads and processes may use
    one folder; the first makes the keys.  Raises ConfigError for a bad trust domain or a folder
    that others can read, IdentityUnavailable when the state in it is damaged.
    """

    def __init__(
        self,
        folder: Path,
        trust_domain: str,
        *,
        now: Callable[[], float],
        leaf_ttl: float = LEAF_TTL,
    ) -> None:
        SpiffeId(trust_domain)
        longest = ISSUING_TTL * (1 - ISSUING_RENEWAL)
        if not 1 <= leaf_ttl <= longest:
            raise ConfigError("leaf_ttl", leaf_ttl, f"1 to {longest:.0f} seconds")
        self._folder = private_folder(folder)
        self._trust_domain = trust_domain
        self._now = now
        self._leaf_ttl = leaf_ttl
        self._loaded = self._open()

    def bundle(self) -> TrustBundle:
        """The roots to trust, as they stand on disk."""
        return TrustBundle(self._trust_domain, self._current().roots)

    def issue(self, spiffe_id: SpiffeId) -> LeafCert:
        """A new key and its certificate.

        Raises ConfigError for an id that is not a workload of this trust domain,
        IdentityUnavailable, ControlError.
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
        if key in (loaded.root.key.public_key(), loaded.issuing.key.public_key()):
            raise ConfigError("csr.key", "a key of the CA", "a key of the caller's own")
        return self._sign(key, allowed)[1]

    def _sign(self, key: PublicKey, spiffe_id: SpiffeId) -> tuple[x509.Certificate, bytes]:
        if spiffe_id.trust_domain != self._trust_domain or not spiffe_id.path:
            raise ConfigError("spiffe id", str(spiffe_id), f"a workload of {self._trust_domain!r}")
        issuing = self._fresh().issuing
        life = self._life(self._leaf_ttl)
        leaf = certs.leaf_certificate(key, str(spiffe_id), life, issuing)
        return leaf, certs.chain_pem(leaf, issuing.certificate)

    def _life(self, seconds: float) -> Life:
        now = self._now()
        return Life(now - min(BACKDATE, BACKDATE_SHARE * seconds), now + seconds)

    # -- state

    def _open(self) -> _Loaded:
        with locked(self._folder / LOCK):
            if not (self._folder / STATE).exists():
                self._create()
            return self._load(read_private(self._folder / STATE))

    def _current(self) -> _Loaded:
        """The state on disk, read again only when another process committed a new one."""
        try:
            raw = read_private(self._folder / STATE)
        except FileNotFoundError as exc:
            raise self._damaged(f"{STATE} is gone") from exc
        if raw != self._loaded.raw:
            self._loaded = self._load(raw)
        return self._loaded

    def _fresh(self) -> _Loaded:
        """The state on disk, with an issuing certificate that outlives any leaf."""
        if not _is_old(self._current().issuing.certificate, self._now()):
            return self._loaded
        with locked(self._folder / LOCK):
            if _is_old(self._current().issuing.certificate, self._now()):
                self._replace_issuing(self._loaded)
        return self._current()

    def _create(self) -> None:
        key = certs.new_key()
        name = f"{self._trust_domain} root 1"
        certificate = certs.root_certificate(name, key, self._life(ROOT_TTL), path_length=2)
        root = Signer(certificate, key)
        self._write("root-1", root)
        self._write_issuing(root, _Authority(1, 1))
        self._commit(_State(1, self._trust_domain, 1, (_Authority(1, 1),)))

    def _replace_issuing(self, loaded: _Loaded) -> None:
        state = loaded.state
        if loaded.root.certificate.not_valid_after_utc.timestamp() <= self._now():
            raise self._damaged("its root certificate has expired")
        renewed = tuple(
            _Authority(each.generation, each.issuing + (each.generation == state.active))
            for each in state.authorities
        )
        self._write_issuing(loaded.root, _active(state.active, renewed))
        self._commit(msgspec.structs.replace(state, authorities=renewed))

    def _write_issuing(self, root: Signer, authority: _Authority) -> None:
        key = certs.new_key()
        stem = f"issuing-{authority.generation}-{authority.issuing}"
        name = f"{self._trust_domain} {stem}"
        life = self._life(ISSUING_TTL)
        certificate = certs.ca_certificate(name, key, life, root, path_length=0)
        self._write(stem, Signer(certificate, key))

    def _write(self, stem: str, signer: Signer) -> None:
        write_private(self._folder / f"{stem}-key.pem", certs.key_pem(signer.key))
        write_private(self._folder / f"{stem}.pem", certs.chain_pem(signer.certificate))

    def _commit(self, state: _State) -> None:
        write_private(self._folder / STATE, msgspec.json.format(msgspec.json.encode(state)))

    def _load(self, raw: bytes) -> _Loaded:
        try:
            state = msgspec.json.decode(raw, type=_State)
            self._check_owner(state)
            return self._read(state, raw)
        except (FileNotFoundError, ValueError, LookupError, TypeError, InvalidSignature) as exc:
            if isinstance(exc, ConfigError):
                raise
            raise self._damaged(str(exc) or type(exc).__name__) from exc

    def _check_owner(self, state: _State) -> None:
        if state.trust_domain != self._trust_domain:
            expected = f"{state.trust_domain!r}, the domain of the CA in {self._folder}"
            raise ConfigError("trust_domain", self._trust_domain, expected)

    def _read(self, state: _State, raw: bytes) -> _Loaded:
        active = _active(state.active, state.authorities)
        signers = [self._read_signer(f"root-{each.generation}") for each in state.authorities]
        roots = dict(zip((each.generation for each in state.authorities), signers, strict=True))
        root = roots[state.active]
        issuing = self._read_signer(f"issuing-{active.generation}-{active.issuing}")
        issuing.certificate.verify_directly_issued_by(root.certificate)
        ders = frozenset(each.certificate.public_bytes(Encoding.DER) for each in signers)
        return _Loaded(state, raw, ders, root, issuing)

    def _read_signer(self, stem: str) -> Signer:
        key = certs.load_key(read_private(self._folder / f"{stem}-key.pem"))
        pem = read_private(self._folder / f"{stem}.pem")
        certificate = x509.load_pem_x509_certificate(pem)
        if certificate.public_key() != key.public_key():
            raise ValueError(f"{stem}.pem is not the certificate of {stem}-key.pem")
        return Signer(certificate, key)

    def _damaged(self, why: str) -> IdentityUnavailable:
        return IdentityUnavailable(
            f"the CA in {self._folder} cannot be used",
            why=why,
            hint="restore the folder, or remove it to begin with a new CA that nobody trusts yet",
        )


def _active(generation: int, authorities: tuple[_Authority, ...]) -> _Authority:
    for each in authorities:
        if each.generation == generation:
            return each
    raise LookupError(f"authority {generation} is active but not listed")


def _is_old(certificate: x509.Certificate, now_unix: float) -> bool:
    since = certificate.not_valid_before_utc.timestamp()
    until = certificate.not_valid_after_utc.timestamp()
    return now_unix > since + ISSUING_RENEWAL * (until - since)
