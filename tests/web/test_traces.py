"""Traces: what a collector gets from a feed that was told where it is, by OpenTelemetry's own protocol."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from esfeed.demo.cloud import FLAVOR
from tests.support.clients import eventually
from tests.web.conftest import StageMaker


@contextmanager
def collector() -> Iterator[tuple[str, list[Any]]]:
    """A receiver of OTLP over HTTP: its url, and the spans it got."""
    spans: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = ExportTraceServiceRequest()
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            asked.ParseFromString(body)
            for resource in asked.resource_spans:
                for scope in resource.scope_spans:
                    spans.extend(scope.spans)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing of requests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", spans
    finally:
        server.shutdown()
        server.server_close()


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: one.value.string_value or one.value.int_value or one.value.double_value for one in span.attributes}


def test_polls_and_deliveries_are_spans(stage: StageMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A poll with what it cost and found, a delivery with how many and how late; what fails is an error in words."""
    with collector() as (url, spans):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        staged = stage('[sinks.hooks]\ntype = "webhook"\nurl = "http://127.0.0.1:9/"\nallow_private = true\n')
        staged.cloud.create(FLAVOR, "m1.large", vcpus=4)
        eventually(lambda: any(attributes(span).get("esfeed.events.created") == 1 for span in spans))
        eventually(lambda: {span.name for span in spans} >= {"poll cloud", "send audit", "send hooks"})
        staged.live.stop()
    poll = next(span for span in spans if attributes(span).get("esfeed.events.created") == 1)
    told = attributes(poll)
    assert told["esfeed.watch"] == "cloud"
    assert told["esfeed.cluster.requests"] >= 2
    assert told["esfeed.cluster.received_bytes"] > 100
    assert poll.end_time_unix_nano > poll.start_time_unix_nano
    # The cluster's client makes spans of its own for each request, where somebody wants them.
    requests = [span for span in spans if span.parent_span_id == poll.span_id]
    assert len(requests) == told["esfeed.cluster.requests"]
    sent = attributes(next(span for span in spans if span.name == "send audit"))
    assert sent["esfeed.events.taken"] == sent["messaging.batch.message_count"] == 1
    failed = next(span for span in spans if span.name == "send hooks")
    assert failed.status.code == 2


def test_without_the_variable_nothing_is_imported(tmp_path: Path) -> None:
    """A feed that nobody traces does not pay for it."""
    script = (
        "import sys\nfrom esfeed.cli.extras import observers\nassert observers() == []\n"
        "assert not any(name.startswith(('opentelemetry.sdk', 'esfeed.observe.traces')) for name in sys.modules)\n"
    )
    environment = {name: text for name, text in os.environ.items() if not name.startswith("OTEL_")}
    import sys

    subprocess.run([sys.executable, "-c", script], check=True, env=environment, timeout=60)
