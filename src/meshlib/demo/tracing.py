"""
The demo's trace files: one a process, one JSON object a finished span.

Only requests that enter through the edge start a trace; the load that the demo sends straight to
the backend is not worth writing down.  Without the OpenTelemetry SDK there are no files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExportResult

FOLDER = "traces"
MOST_BYTES = 8_000_000
"""A file that grows beyond this starts anew; one older file is kept."""


def install(service: str, instance: str, home: Path, *, root: bool) -> bool:
    """Write this process's spans under `home`; `root`: whether it may begin traces itself."""
    try:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
    except ImportError:
        return False
    resource = Resource({"service.name": service, "service.instance.id": instance})
    provider = TracerProvider(
        sampler=ParentBased(root=ALWAYS_ON if root else ALWAYS_OFF), resource=resource
    )
    path = home / FOLDER / f"{instance}.jsonl"
    provider.add_span_processor(SimpleSpanProcessor(_exporter(path)))
    trace.set_tracer_provider(provider)
    return True


def current_trace() -> str:
    """The id of the trace that this code runs in, as 32 hex digits, or the empty string."""
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else ""


def read(home: Path, trace_id: str) -> list[dict[str, Any]]:
    """All finished spans of one trace, from every process that wrote under `home`."""
    spans = (span for path in sorted((home / FOLDER).glob("*.jsonl*")) for span in _lines(path))
    return [span for span in spans if span["trace_id"] == trace_id]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        # The last line may be half written: its process may be writing it, or have been killed.
        if line.endswith("}\n"):
            yield json.loads(line)


def append(path: Path, spans: Iterable[dict[str, Any]]) -> None:
    """Append spans in one write, which other processes' writes cannot cut in two."""
    text = "".join(json.dumps(span) + "\n" for span in spans)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        file.write(text.encode())
        if file.tell() > MOST_BYTES:
            path.replace(path.with_suffix(".jsonl.1"))


def _exporter(path: Path) -> Any:
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class JsonLines(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            append(path, [_described(span) for span in spans])
            return SpanExportResult.SUCCESS

    return JsonLines()


def _described(span: ReadableSpan) -> dict[str, Any]:
    context = span.get_span_context()
    return {
        "trace_id": f"{context.trace_id:032x}" if context else "",
        "span_id": f"{context.span_id:016x}" if context else "",
        "parent_id": f"{span.parent.span_id:016x}" if span.parent else "",
        "service": span.resource.attributes.get("service.name", ""),
        "name": span.name,
        "kind": span.kind.name.lower(),
        "start": span.start_time,
        "end": span.end_time,
        "attributes": dict(span.attributes or {}),
    }
