"""
Roots of other trust domains, from a folder.

`bundles/partner.org.pem` is what vouches for members of `partner.org`, and for nobody else.

A file that appears is trusted, one that is gone is not, within one look.  One that cannot be used
costs only its own domain: what was read of it before stays, and it is told of if it is still so at
the next look, for a file that is being written is torn for a moment.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from meshlib.control.pemfiles import is_authority, read_certificates
from meshlib.errors import MeshError
from meshlib.trust import spiffe
from meshlib.trust.bundle import TrustBundle
from meshlib.trust.verify import UNREADABLE

logger = logging.getLogger("meshlib.identity")

FOLDER = "bundles"
SUFFIX = ".pem"

Event = Callable[[str, str, str], None]
"""As `Listener.control_event`: kind, subject, text."""


class Federation:
    """The bundles in `folder`, which need not exist; `read` gives the bytes of a file."""

    def __init__(self, folder: Path, read: Callable[[Path], bytes], event: Event) -> None:
        self._folder, self._read, self._event = folder, read, event
        self._known: dict[str, TrustBundle] = {}
        self._flaws: dict[str, str] = {}
        """What was wrong at the last look, by the name of the file."""
        self._told: dict[str, str] = {}

    def look(self, own: str) -> Mapping[str, TrustBundle]:
        """The roots to trust now, by trust domain, without that of this process; never raises."""
        flaws: dict[str, str] = {}
        try:
            self._known = dict(self._readable(own, flaws))
        except (OSError, MeshError) as exc:
            flaws[str(self._folder)] = str(exc)
        self._complain(flaws)
        return self._known

    def _readable(self, own: str, flaws: dict[str, str]) -> Iterator[tuple[str, TrustBundle]]:
        for path in bundle_files(self._folder):
            domain = path.name.removesuffix(SUFFIX)
            try:
                yield domain, parse_bundle(domain, self._read(path), own)
            except (OSError, MeshError, *UNREADABLE) as exc:
                flaws[path.name] = str(exc)
                # what claims our own domain must not stay: it may be new that it is ours
                if domain in self._known and domain != own:
                    yield domain, self._known[domain]

    def _complain(self, flaws: dict[str, str]) -> None:
        lasting = {name: why for name, why in flaws.items() if self._flaws.get(name) == why}
        for name, why in lasting.items():
            if self._told.get(name) != why:
                text = f"what is in {self._folder} under {name} is not used: {why}"
                logger.warning("%s", text)
                self._event("roots-refused", name, text)
        self._flaws, self._told = flaws, lasting


def bundle_files(folder: Path) -> list[Path]:
    """Those of a folder, sorted; none if it does not exist.  Raises OSError."""
    # kubelet swaps the link ..data, and the names in the folder lead through it: looked up once
    data = folder / "..data"
    try:
        place = data.resolve(strict=True) if data.is_symlink() else folder
        names = sorted(each.name for each in place.iterdir())
    except FileNotFoundError:
        return []
    return [place / name for name in names if name.endswith(SUFFIX) and name[0] != "."]


def parse_bundle(domain: str, pem: bytes, own: str) -> TrustBundle:
    """The roots of a foreign domain.  Raises ValueError, and ConfigError for a bad name."""
    if domain[:1] == ".":
        raise ValueError("its name begins with a dot, as those of temporary files do")
    if spiffe.SpiffeId(domain).trust_domain == own:
        raise ValueError("it claims the trust domain of this process")
    found = read_certificates(pem)
    if not all(map(is_authority, found)):
        raise ValueError("a certificate in it is none of an authority")
    roots = frozenset(each.public_bytes(Encoding.DER) for each in found)
    return TrustBundle(domain, roots)
