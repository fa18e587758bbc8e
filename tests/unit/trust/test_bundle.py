"""What holds a key stays in its process."""

from __future__ import annotations

import copy
import pickle

import pytest

from meshlib.trust.bundle import Credentials, LeafCert

LEAF = LeafCert("spiffe://example.org/svc/a", b"chain", b"the key", 0.0, 1.0)


@pytest.mark.parametrize("secret", [LEAF, Credentials(LEAF, {})], ids=["leaf", "credentials"])
@pytest.mark.parametrize("away", [pickle.dumps, copy.deepcopy], ids=["pickle", "deepcopy"])
def test_a_key_does_not_travel(secret, away):
    """Neither a leaf nor what contains one can be pickled or copied; the error shows no key."""
    with pytest.raises(TypeError, match="private key") as caught:
        away(secret)
    assert "the key" not in str(caught.value)
