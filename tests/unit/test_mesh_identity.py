"""A mesh whose certificates come from somebody else than its control plane."""

from __future__ import annotations

import ssl
import time

from meshlib import Mesh
from meshlib.model import Target
from meshlib.testing.ca import ThrowawayCA
from meshlib.trust.spiffe import neighbour, parse
from meshlib.watch import Watch

CA = ThrowawayCA("elsewhere.org", now=time.time())


class Elsewhere:
    """An `IdentitySource` of our own."""

    oldest_tls = ssl.TLSVersion.TLSv1_2

    def credentials(self, service):
        return Watch(CA.credentials(service), ready=True)

    def spiffe_id(self, service, datacenter=""):
        return str(neighbour(parse(CA.id_of("x")), service, datacenter))

    def server_name(self, service, subset="", datacenter=""):
        return f"{service}.elsewhere"


def test_another_issuer(tmp_path):
    """It says who we are, whom we expect, how, and what we ask for; the rest is the plane's."""
    with Mesh("web", home=str(tmp_path / "home"), identity=Elsewhere()) as mesh:
        assert CA.id_of("web") == mesh.credentials.value.leaf.spiffe_id
        context, _ = mesh._parts.trust(Target("db", datacenter="dc2"))
    expected = f"spiffe://{CA.trust_domain}/ns/default/dc/dc2/svc/db"
    assert context._authorize(parse(expected))
    assert not context._authorize(parse(CA.id_of("db")))
    assert ssl.TLSVersion.TLSv1_2 == context._inner().minimum_version
    assert "db.elsewhere" == context._server_name
