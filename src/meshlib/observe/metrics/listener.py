"""
`Metrics`: a listener that counts, and the page of what it counted.

The names follow Prometheus' conventions: base units, `_total` for counters.  Labels are words of
ours, and names of services, routes, subsets and versions; never a path, an address or an identity.
docs/how-to/metrics.md says what each of them means; a test holds it to what is exported.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from typing import Any

from meshlib.observe.metrics.calls import CallMetrics
from meshlib.observe.metrics.family import Labels, Reading
from meshlib.observe.metrics.prometheus import OPEN, PLAIN, page
from meshlib.observe.metrics.registry import Registry
from meshlib.observe.metrics.series import CAP
from meshlib.observe.metrics.serving import ServingMetrics
from meshlib.observe.metrics.view import ViewMetrics
from meshlib.runtime import Clock, real_clock


class Metrics(CallMetrics, ServingMetrics, ViewMetrics):
    """Thread-safe.  A forked process begins at zero.

    `cap` bounds how many combinations of label values a metric has; those beyond it are counted
    together as "other".  Raises ConfigError for a cap below 1.
    """

    def __init__(self, *, cap: int = CAP, clock: Clock = real_clock) -> None:
        self.registry = Registry(clock, cap)
        self._began = trees = self.registry.counter(
            "trees_total",
            "Requests that entered the mesh here: each is the root of a tree of calls.",
            ("entry",),
        )
        CallMetrics.__init__(self, self.registry, trees)
        ServingMetrics.__init__(self, self.registry, trees)
        ViewMetrics.__init__(self, self.registry)
        self.registry.gauge(
            "request_amplification",
            "1, and the extra attempts that a request which came in has cost on average.",
            (),
            self._amplification,
        )

    def text(self, *, openmetrics: bool = False) -> str:
        """The page, in Prometheus' text format or in OpenMetrics'."""
        return page(self.registry.families(), openmetrics=openmetrics)

    def gauge(self, name: str, text: str, labels: Labels, read: Callable[[], Reading]) -> None:
        """Add a gauge `meshlib_<name>`, read when the page is made.

        `read` gives pairs of label values and the value; it must be quick, and not raise.
        """
        self.registry.gauge(name, text, labels, read)

    # ---- for a scraper

    def wsgi(
        self, environ: MutableMapping[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """The page as a WSGI application, to be mounted where a scraper may come."""
        kind, body = self._page(environ.get("HTTP_ACCEPT", ""))
        start_response("200 OK", [("content-type", kind), ("content-length", str(len(body)))])
        return [body]

    async def asgi(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """The same as an ASGI application; it has nothing to say but to http."""
        if scope["type"] != "http":
            return
        kind, body = self._page(dict(scope["headers"]).get(b"accept", b"").decode("latin-1"))
        headers = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _page(self, accept: str) -> tuple[str, bytes]:
        openmetrics = "application/openmetrics-text" in accept
        return OPEN if openmetrics else PLAIN, self.text(openmetrics=openmetrics).encode()

    def _amplification(self) -> Iterator[tuple[Labels, float]]:
        came = self._began.total() + self.arrived.total()
        if came:
            yield (), 1 + self.extra.total() / came
