"""What is counted of the calls of this process."""

from __future__ import annotations

from meshlib.errors import NoRoute, Rejected
from meshlib.model import Call, Endpoint, Verdict
from meshlib.observe.metrics.registry import Registry
from meshlib.observe.metrics.series import OTHER, Counter
from meshlib.observe.metrics.words import of_error, of_status
from meshlib.observe.quiet import Quiet

_SERVICE = ("service",)


class CallMetrics(Quiet):
    """The client side.  `trees` is common to both sides."""

    def __init__(self, registry: Registry, trees: Counter) -> None:
        self._trees = trees
        self._calls = registry.histogram(
            "call_duration_seconds",
            "Calls as their callers saw them: from the request to the reply or error.",
            ("service", "route", "subset", "outcome"),
            free=("service", "route", "subset"),
        )
        self._attempts = registry.histogram(
            "attempt_duration_seconds",
            "Attempts on the wire, those of mirrored calls too; the verdict blames the endpoint.",
            ("service", "version", "verdict"),
            free=("service", "version"),
        )
        self.extra = registry.counter(
            "extra_attempts_total",
            "Attempts besides the first of a call, drawn from the retry credit of its tree.",
            _SERVICE,
            free=_SERVICE,
        )
        self._make_decisions(registry)

    def _make_decisions(self, registry: Registry) -> None:
        def counter(name: str, text: str, *labels: str, free: tuple[str, ...] = ()) -> Counter:
            return registry.counter(name, text, ("service", *labels), ("service", *free))

        self._rejected = counter(
            "calls_rejected_total", "Calls refused here, before anything was sent.", "by"
        )
        self._retries = counter(
            "retries_total",
            "Attempts that followed a failed one.",
            "why",
            free=("why",),  # a peer's grpc-status is in it
        )
        self._withheld = counter(
            "retries_withheld_total", "Failed attempts that no other one followed.", "why"
        )
        self._hedges = counter("hedges_total", "Attempts that kept a slow one company.", "outcome")
        self._fallbacks = counter(
            "fallbacks_total", "Calls whose error a fallback stood in for.", "error"
        )
        self._mirrored = counter(
            "mirrored_calls_total", "Copies of calls.", "mirror", "outcome", free=("mirror",)
        )
        self._blameless = counter(
            "blame_withheld_total", "Failed attempts that their endpoint is not blamed for.", "why"
        )

    def attempt_finished(
        self, service: str, endpoint: Endpoint, verdict: Verdict, seconds: float
    ) -> None:
        """One try ended."""
        self._attempts.observe((service, endpoint.version, verdict.word), seconds)

    def call_finished(self, call: Call, outcome: int | BaseException, seconds: float) -> None:
        """One logical call ended."""
        service, target = call.service, call.target
        if isinstance(outcome, int):
            word = of_status(outcome)
        else:
            word = of_error(outcome)
            if isinstance(outcome, NoRoute):
                service = OTHER  # anybody can make up a name
            elif isinstance(outcome, Rejected):
                self._rejected.add((service, outcome.by))
        subset = "" if target is None else target.subset
        self._calls.observe((service, call.route, subset, word), seconds)
        if call.context is None:
            self._trees.add(("call",))
        if call.extra:
            self.extra.add((service,), call.extra)
        if call.stopped_by:
            self._withheld.add((service, call.stopped_by))
        if call.fell_back:
            self._fallbacks.add((service, call.fell_back))

    def call_retried(self, call: Call, why: str) -> None:
        """Another attempt follows one that failed."""
        self._retries.add((call.service, why))

    def call_hedged(self, call: Call, outcome: str) -> None:
        """A slow attempt got company."""
        self._hedges.add((call.service, outcome))

    def call_mirrored(self, service: str, mirror: str, outcome: str) -> None:
        """A copy of a call came to an end."""
        word = of_status(int(outcome)) if outcome.isdecimal() else outcome
        self._mirrored.add((service, mirror, word))

    def blame_withheld(self, service: str, endpoint: Endpoint, why: str) -> None:
        """An attempt failed, and its endpoint is not blamed."""
        self._blameless.add((service, why))
