"""Trusting another domain, and no longer, while the process that says so is killed."""

from __future__ import annotations

import os
import ssl
import time
from functools import partial

import pytest

from meshlib.control.federation import FOLDER, Federation
from meshlib.control.local.ca import LocalCA
from meshlib.control.local.federation import distrust_domain, trust_domain
from meshlib.control.local.folder import read_private
from meshlib.control.local.vault import Vault
from meshlib.testing.ca import ThrowawayCA
from meshlib.testing.killed import killed_at

PARTNER, LATER = (ThrowawayCA("partner.org", now=time.time()) for _ in range(2))


def pem(authority):
    """The roots as PEM."""
    return "".join(map(ssl.DER_cert_to_PEM_cert, sorted(authority.bundle.roots))).encode()


def known(folder):
    """What a new process trusts of the partner, by what is on disk; nothing may be refused."""
    refused = []
    federation = Federation(folder / FOLDER, read_private, lambda kind, *_: refused.append(kind))
    federation.look("example.org")
    found = federation.look("example.org").get("partner.org")
    assert [] == refused
    return found and found.roots


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
@pytest.mark.parametrize("before", [None, PARTNER], ids=["new", "known"])
@pytest.mark.parametrize("after", [LATER, None], ids=["trust", "distrust"])
def test_killed_at_every_write(before, after, tmp_path):
    """The domain's roots are the old ones or the new ones, and saying it again is all it takes.

    Fails when the file is written in place instead of renamed into place (hand mutation).
    """

    def say(folder):
        if after is None:
            return distrust_domain(Vault(folder), "partner.org")
        return trust_domain(Vault(folder), "partner.org", pem(after))

    number, alive = 0, True
    while alive:
        folder = tmp_path / f"{number}"
        LocalCA(folder, "example.org", now=time.time)
        if before is not None:
            trust_domain(Vault(folder), "partner.org", pem(before))
        alive = killed_at(number, partial(say, folder))
        allowed = [each and each.bundle.roots for each in (before, after)]
        assert known(folder) in allowed
        say(folder)
        assert (after and after.bundle.roots) == known(folder)
        assert LocalCA(folder, "example.org", now=time.time, create=False).bundle()
        number += 1
    assert number > 3
