"""The page, as others read it."""

from __future__ import annotations

import asyncio
import os
import subprocess
from math import inf, nan
from wsgiref.util import setup_testing_defaults

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open
from prometheus_client.parser import text_string_to_metric_families as read_plain

from meshlib import ConfigError, Endpoint, Metrics
from meshlib.model import Call, Target, Verdict

BOTH = pytest.mark.parametrize("openmetrics", [False, True])


@pytest.fixture
def metrics():
    """Some of everything."""
    made = Metrics()
    made.call_finished(Call("shop", target=Target("shop", "v1"), route="cheap"), 200, 0.003)
    made.attempt_finished("shop", Endpoint("i-1", "127.0.0.1", 1), Verdict.FAILURE, 0.003)
    made.control_event("reconnect", "127.0.0.1:8500", "the agent is back")
    made.process_stalled(1.5)
    made.gauge("answer", "An answer.", ("to",), lambda: [(("all",), 42)])
    return made


@BOTH
def test_the_page_can_be_read(metrics, values, openmetrics):
    """Prometheus' own parsers find the same numbers in both formats."""
    found = values(metrics, openmetrics=openmetrics)
    assert 1 == found["meshlib_call_duration_seconds_count", "shop", "cheap", "v1", "2xx"]
    assert (
        0 == found["meshlib_call_duration_seconds_bucket", "shop", "cheap", "v1", "2xx", "0.0025"]
    )
    assert 1 == found["meshlib_call_duration_seconds_bucket", "shop", "cheap", "v1", "2xx", "0.005"]
    assert 1 == found["meshlib_control_events_total", "reconnect"]
    assert 1.5 == found["meshlib_stalled_seconds_total",]
    assert 42 == found["meshlib_answer", "all"]


def test_promtool_finds_nothing_wrong(metrics, real_component):
    """Prometheus' linter has no complaint about names, types and help texts."""
    command = [real_component("promtool"), "check", "metrics"]
    done = subprocess.run(
        command, input=metrics.text(), capture_output=True, text=True, check=False
    )
    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


@BOTH
@given(word=st.text(st.characters(codec="utf-8"), max_size=20))
def test_any_word_may_be_a_label(openmetrics, word):
    """Quotes, backslashes and line ends come out as they went in."""
    metrics = Metrics()
    metrics.gauge("x", "X.", ("word",), lambda: [((word,), 1)])
    read = read_open if openmetrics else read_plain
    words = [
        sample.labels["word"]
        for family in read(metrics.text(openmetrics=openmetrics))
        for sample in family.samples
        if sample.name == "meshlib_x"
    ]
    assert [word] == words


@pytest.mark.parametrize(("value", "text"), [(inf, "+Inf"), (-inf, "-Inf"), (nan, "NaN"), (3, "3")])
def test_numbers_as_prometheus_writes_them(value, text):
    """Also those that Python writes differently."""
    metrics = Metrics()
    metrics.gauge("x", "X.", (), lambda: [((), value)])
    assert f"\nmeshlib_x {text}\n" in metrics.text()


def test_nothing_is_said_of_what_never_happened():
    """A family without a sample is not on the page."""
    assert "hedges" not in Metrics().text()


def test_an_openmetrics_page_has_an_end():
    """A page that was cut off is noticed."""
    assert Metrics().text(openmetrics=True).endswith("# EOF\n")


def test_a_page_for_wsgi(metrics):
    """The application answers with the page, in the format the scraper prefers."""
    said = []
    environ = {"HTTP_ACCEPT": "application/openmetrics-text;version=1.0.0"}
    setup_testing_defaults(environ)
    (body,) = metrics.wsgi(environ, lambda *given: said.append(given))
    ((status, headers),) = said
    assert "200 OK" == status
    assert str(len(body)) == dict(headers)["content-length"]
    assert dict(headers)["content-type"].startswith("application/openmetrics-text")
    assert metrics.text(openmetrics=True).encode() == body


def test_a_page_for_asgi(metrics):
    """The same in a loop; nothing is said to what is not http."""
    sent = []

    async def send(message):
        sent.append(message)

    async def main():
        await metrics.asgi({"type": "lifespan"}, None, send)
        await metrics.asgi({"type": "http", "headers": [(b"accept", b"*/*")]}, None, send)

    asyncio.run(main())
    start, body = sent
    assert 200 == start["status"]
    assert dict(start["headers"])[b"content-type"].startswith(b"text/plain; version=0.0.4")
    assert metrics.text().encode() == body["body"]


def test_a_cap_must_leave_room():
    """A metric without any line is a mistake."""
    with pytest.raises(ConfigError, match="cap: 0"):
        Metrics(cap=0)


def test_a_gauge_has_a_cap_too(values):
    """What is beyond it is left out, and said to be."""
    metrics = Metrics(cap=2)
    metrics.gauge("x", "X.", ("n",), lambda: [((str(n),), n) for n in range(5)])
    found = values(metrics)
    assert 2 == sum(name == "meshlib_x" for name, *_ in found)
    assert 3 == values(metrics)["meshlib_metric_values_folded_total", "meshlib_x"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_begins_at_zero(metrics):
    """What the parent counted is the parent's, also when it forks while somebody counts."""
    reader, writer = os.pipe()
    lock = metrics._control._children["reconnect",].lock
    with lock:
        child = os.fork()
        if child == 0:
            metrics.control_event("reconnect", "", "")
            os.write(writer, metrics.text().encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    assert 'meshlib_control_events_total{kind="reconnect"} 1\n' in text
    assert "meshlib_stalls_total" not in text
