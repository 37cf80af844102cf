"""OpenTelemetry traces: a span for each poll and for each delivery, sent by OTLP over HTTP.

The variables of OpenTelemetry configure the destination, above all ``OTEL_EXPORTER_OTLP_ENDPOINT``:
https://opentelemetry.io/docs/specs/otel/protocol/exporter/.
"""

from __future__ import annotations

import atexit
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode

from esfeed import __version__
from esfeed.model.event import Event
from esfeed.observe.ports import Observer
from esfeed.ports import Outcome


class Traces(Observer):
    """An observer that creates spans. ``exporter`` sends them; it defaults to OTLP.

    A thread sends spans in batches. If it falls behind, spans are dropped; the feed never waits.
    """

    def __init__(self, exporter: SpanExporter | None = None) -> None:
        resource = Resource.create({SERVICE_NAME: "esfeed", "service.version": __version__})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
        # The client of the cluster knows OpenTelemetry: its requests then become children of the span of the poll.
        trace.set_tracer_provider(self._provider)
        self._tracer = self._provider.get_tracer("esfeed", __version__)
        atexit.register(self._provider.shutdown)

    def polling(self, watch: str) -> AbstractContextManager[object]:
        return self._tracer.start_as_current_span(
            f"poll {watch}", kind=SpanKind.CLIENT, attributes={"esfeed.watch": watch}
        )

    def polled(
        self, watch: str, took: float, requests: int, received_bytes: int, events: Mapping[str, int], error: str
    ) -> None:
        span = trace.get_current_span()
        span.set_attribute("esfeed.cluster.requests", requests)
        span.set_attribute("esfeed.cluster.received_bytes", received_bytes)
        for op, count in events.items():
            span.set_attribute(f"esfeed.events.{op}", count)
        if error:
            span.set_status(Status(StatusCode.ERROR, error))

    def sending(self, sink: str, events: Sequence[Event]) -> AbstractContextManager[object]:
        return self._tracer.start_as_current_span(
            f"send {sink}",
            kind=SpanKind.PRODUCER,
            attributes={"esfeed.sink": sink, "messaging.batch.message_count": len(events)},
        )

    def sent(
        self, sink: str, events: Sequence[Event], outcomes: Sequence[Outcome], delays: Sequence[float], took: float
    ) -> None:
        span = trace.get_current_span()
        failed = next((one.reason for one in outcomes if one.tried and not one.ok), "")
        span.set_attribute("esfeed.events.taken", sum(one.ok for one in outcomes))
        span.set_attribute("esfeed.delay.longest_seconds", max(delays, default=0.0))
        if events:
            span.set_attribute("esfeed.position.last", events[-1].position)
        if failed:
            span.set_status(Status(StatusCode.ERROR, failed))
