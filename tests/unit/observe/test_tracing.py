from __future__ import annotations

import subprocess
import sys

WITHOUT = """
import sys
from meshlib.model import Attempt, Call
from meshlib.observe.tracing import Tracing
tracing = Tracing()
assert tracing.call(Call("shop")) is None
tracing.attempt(Attempt(Call("shop"))).end(status=200)
assert "opentelemetry" not in sys.modules
"""

LATE = """
from meshlib.model import Attempt, Call
from meshlib.observe.tracing import Tracing
tracing = Tracing()
assert tracing.call(Call("shop")) is None
from opentelemetry import trace
assert tracing.call(Call("shop")) is None
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider())
headers = {}
tracing.attempt(Attempt(Call("shop"))).inject(headers)
assert headers["traceparent"].startswith("00-")
"""


def test_without_opentelemetry_it_is_not_loaded():
    """A program that does not trace never loads the API."""
    subprocess.run([sys.executable, "-c", WITHOUT], check=True)


def test_a_provider_that_is_set_later_is_used():
    """Spans are recorded as soon as the application has a provider."""
    subprocess.run([sys.executable, "-c", LATE], check=True)
