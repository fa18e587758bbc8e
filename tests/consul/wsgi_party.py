"""A WSGI service on Consul in processes of its own, as gunicorn has them: `SERVICE CONTROL`."""

from __future__ import annotations

import sys

from meshlib.control.consul.address import ConsulAddress
from meshlib.serve import serve
from meshlib.testing.consul_party import Party, who_calls_wsgi


def say(where):
    """To the test."""
    sys.stdout.write(f"{where.port}\n")
    sys.stdout.flush()


service, control = sys.argv[1:3]
with Party(ConsulAddress.parse(control, {}), service) as party:
    serve(who_calls_wsgi, party.options(started=say, workers=2), kind="wsgi")
