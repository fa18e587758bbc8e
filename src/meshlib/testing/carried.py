"""
Credentials of a throw-away CA, carried to a child process in a file.

Real ones are not carried: a `LeafCert` refuses to be pickled.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from pathlib import Path

from meshlib.trust.bundle import Credentials, LeafCert, TrustBundle


def carry(credentials: Credentials, file: Path) -> None:
    """Write them, key and all."""
    leaf = credentials.leaf
    file.write_text(
        json.dumps(
            {
                "id": leaf.spiffe_id,
                "pems": [leaf.chain_pem.decode(), leaf.key_pem.decode()],
                "life": [leaf.not_before, leaf.not_after],
                "roots": {
                    domain: [b64encode(root).decode() for root in bundle.roots]
                    for domain, bundle in credentials.bundles.items()
                },
                "generation": credentials.generation,
            }
        )
    )


def carried(file: Path) -> Credentials:
    """Read what `carry` has written."""
    said = json.loads(file.read_text())
    chain, key = (pem.encode() for pem in said["pems"])
    bundles = {
        domain: TrustBundle(domain, frozenset(b64decode(root) for root in roots))
        for domain, roots in said["roots"].items()
    }
    leaf = LeafCert(said["id"], chain, key, *said["life"])
    return Credentials(leaf, bundles, said["generation"])
