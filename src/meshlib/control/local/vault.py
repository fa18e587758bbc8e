"""
The CA's folder: state.json, and the certificates and keys it names.

    root-N.pem, root-N-key.pem             one authority
    issuing-N-M.pem, issuing-N-M-key.pem   what signs leaves beneath it
    cross-N.pem                            root N, vouched for by the root before it

`state.json` is the only commit point: everything else is written first, under names that no
committed state uses, so that a crash at any moment leaves the old state or the new one.  What a
crash left over, or a commit made superfluous, is swept away afterwards.  Writers hold a kernel
lock; readers need none, and look again when what they were about to read has just been replaced.
Cross certificates stay: they prove to a process that slept through a rotation that the CA it finds
is the one it knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from meshlib.control.local import certs
from meshlib.control.local.authorities import Authority, State
from meshlib.control.local.certs import Signer
from meshlib.control.local.folder import (
    check_folder,
    locked,
    private_folder,
    read_private,
    sync_folder,
    write_private,
)
from meshlib.errors import ConfigError, IdentityUnavailable

STATE = "state.json"
LOCK = "ca.lock"

_OURS = re.compile(r"(root-\d+|issuing-\d+-\d+)(-key)?\.pem|cross-\d+\.pem|\.new-.*")
"""What may be swept away; a store may live in the same folder."""
_DAMAGE = (FileNotFoundError, ValueError, LookupError, TypeError, InvalidSignature)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A committed state with its certificates, and the keys that sign."""

    state: State
    raw: bytes
    roots: Mapping[int, x509.Certificate]
    crosses: Mapping[int, x509.Certificate]
    root: Signer
    issuing: Signer

    @property
    def ders(self) -> frozenset[bytes]:
        """The roots to trust."""
        return frozenset(each.public_bytes(Encoding.DER) for each in self.roots.values())

    @property
    def intermediates(self) -> tuple[x509.Certificate, ...]:
        """What a leaf is sent with: who has only heard of the root that retires needs the cross."""
        cross = self.crosses.get(self.state.active)
        if self.state.retiring is None or cross is None:
            return (self.issuing.certificate,)
        return (self.issuing.certificate, cross)

    def follows(self, held: Loaded) -> bool:
        """Whether every root here is known from `held`, or vouched for by one that is."""
        accepted = list(held.roots.values())
        for _, cross in sorted(self.crosses.items()):
            if any(_signed(cross, each) for each in accepted):
                accepted.append(cross)
        return all(any(_same(root, each) for each in accepted) for root in self.roots.values())


class Vault:
    """Reads and commits the state in `folder`.

    Raises ConfigError for a folder that is not the caller's own, or that others can enter;
    IdentityUnavailable when it does not exist and is not to be made.
    """

    def __init__(self, folder: Path, *, create: bool = False) -> None:
        try:
            self.folder = private_folder(folder) if create else check_folder(folder)
        except FileNotFoundError as exc:
            raise _no_ca(folder) from exc

    def lock(self) -> AbstractContextManager[None]:
        """Against all other writers.  Raises ConfigError, ControlError."""
        return locked(self.folder / LOCK)

    def is_empty(self) -> bool:
        """Whether no CA was ever committed here."""
        return not (self.folder / STATE).exists()

    def current(self, known: Loaded | None = None) -> Loaded:
        """The state on disk; `known` itself while that is what stands there.

        Raises IdentityUnavailable when it is gone or damaged, ConfigError when others can read it.
        """
        if known is None and self.is_empty() and not any(self.folder.glob("root-*")):
            raise _no_ca(self.folder)
        raw = self._raw()
        while known is None or raw != known.raw:
            try:
                return self._load(raw)
            except IdentityUnavailable:
                # a commit, and the sweep after it, may have come between state.json and the rest
                raw, before = self._raw(), raw
                if raw == before:
                    raise
        return known

    def commit(self, state: State) -> Loaded:
        """Make `state` the one that counts, and sweep.  The caller holds the lock."""
        encoded = msgspec.json.format(msgspec.json.encode(state))
        loaded = self._load(encoded)  # what cannot be read back is not committed
        write_private(self.folder / STATE, encoded)
        self.sweep(state)
        return loaded

    def write(self, stem: str, signer: Signer) -> None:
        """A certificate and its key."""
        write_private(self.folder / f"{stem}-key.pem", certs.key_pem(signer.key))
        self.write_certificate(stem, signer.certificate)

    def write_certificate(self, stem: str, certificate: x509.Certificate) -> None:
        """A certificate alone."""
        write_private(self.folder / f"{stem}.pem", certs.chain_pem(certificate))

    def read_signer(self, stem: str) -> Signer:
        """The reverse of `write`.  Raises ValueError, FileNotFoundError, ConfigError."""
        key = certs.load_key(read_private(self.folder / f"{stem}-key.pem"))
        certificate = self._certificate(stem)
        if certificate.public_key() != key.public_key():
            raise ValueError(f"{stem}.pem is not the certificate of {stem}-key.pem")
        return Signer(certificate, key)

    def sweep(self, state: State) -> None:
        """Remove what no state needs any more.  The caller holds the lock."""
        wanted = set(_wanted(state))
        superfluous = [
            each
            for each in self.folder.iterdir()
            if _OURS.fullmatch(each.name) and each.name not in wanted
        ]
        for each in superfluous:
            each.unlink(missing_ok=True)
        if superfluous:
            sync_folder(self.folder)

    def damaged(self, why: str) -> IdentityUnavailable:
        """The error that says so."""
        return IdentityUnavailable(
            f"the CA in {self.folder} cannot be used",
            why=why,
            hint="restore the folder, or remove it to begin with a new CA that nobody trusts yet",
        )

    def _raw(self) -> bytes:
        try:
            check_folder(self.folder)
            return read_private(self.folder / STATE)
        except FileNotFoundError as exc:
            raise self.damaged(f"{STATE} is gone") from exc

    def _load(self, raw: bytes) -> Loaded:
        try:
            return self._read(msgspec.json.decode(raw, type=State), raw)
        except _DAMAGE as exc:
            if isinstance(exc, ConfigError):
                raise
            raise self.damaged(str(exc) or type(exc).__name__) from exc

    def _read(self, state: State, raw: bytes) -> Loaded:
        signing = state.signing
        root = self.read_signer(f"root-{signing.generation}")
        issuing = self.read_signer(f"issuing-{signing.generation}-{signing.issuing}")
        issuing.certificate.verify_directly_issued_by(root.certificate)
        roots = {each.generation: self._root(each) for each in state.authorities}
        return Loaded(state, raw, roots, self._crosses(state), root, issuing)

    def _root(self, authority: Authority) -> x509.Certificate:
        certificate = self._certificate(f"root-{authority.generation}")
        if authority.root not in {"", certs.fingerprint(certificate)}:
            raise ValueError(f"root-{authority.generation}.pem is not the root that {STATE} names")
        return certificate

    def _crosses(self, state: State) -> dict[int, x509.Certificate]:
        """Of all generations so far; only that of a rotation which is under way must be there."""
        latest = max(each.generation for each in state.authorities)
        found = {}
        for generation in range(2, latest + 1):
            try:
                found[generation] = self._certificate(f"cross-{generation}")
            except FileNotFoundError:
                if len(state.authorities) > 1 and generation == latest:
                    raise
        return found

    def _certificate(self, stem: str) -> x509.Certificate:
        return x509.load_pem_x509_certificate(read_private(self.folder / f"{stem}.pem"))


def _no_ca(folder: Path) -> IdentityUnavailable:
    return IdentityUnavailable(f"there is no CA in {folder}", hint="meshlib ca init")


def _wanted(state: State) -> Iterable[str]:
    for each in state.authorities:
        stems = [f"root-{each.generation}"]
        if each.issuing:
            stems.append(f"issuing-{each.generation}-{each.issuing}")
        for stem in stems:
            yield from (f"{stem}.pem", f"{stem}-key.pem")
    for generation in range(2, max(each.generation for each in state.authorities) + 1):
        yield f"cross-{generation}.pem"


def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _same(one: x509.Certificate, other: x509.Certificate) -> bool:
    return one.subject == other.subject and one.public_key() == other.public_key()
