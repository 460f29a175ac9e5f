"""Metrics, log and spans of a service with two worker processes, which a receiver in this process collects."""

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from service.api import tracing
from tests.server import get, post, serving, workers_of
from tests.test_metrics import by

SEQUENCE = {"sequence": [[0.1, -0.2]] * 20}
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@contextmanager
def receiver() -> Iterator[tuple[str, list[Span]]]:
    """Receive spans by OTLP over HTTP; yield the address and the spans so far."""
    spans: list[Span] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = ExportTraceServiceRequest()
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") is None and self.path == "/v1/traces":
                request.ParseFromString(body)
            for resource in request.resource_spans:
                names = {one.key: one.value.string_value for one in resource.resource.attributes}
                assert names["service.name"] == "attention-service"
                spans.extend(span for scope in resource.scope_spans for span in scope.spans)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", spans
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_two_workers_are_observed_as_one_service(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums are the client's, also after a worker was replaced; spans belong to the caller's trace."""
    arguments = ["--artifacts", str(artifacts), "--model", "after-lstm", "--workers", "2"]
    arguments += ["--access-log", "--log-format", "json"]
    with receiver() as (address, spans):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        with serving(*arguments) as (url, process):
            statuses: Counter[tuple[str, ...]] = Counter()

            def ask(times: int) -> None:
                for number in range(times):
                    path = "/none" if number % 5 == 4 else "/predict"
                    answer = post(f"{url}{path}", json=SEQUENCE)
                    statuses[(path if path == "/predict" else "unknown", str(answer.status_code))] += 1

            def counted() -> dict[tuple[str, ...], float]:
                found = by(get(f"{url}/metrics").text, "attention_service_requests_total", "route", "status")
                return {labels: count for labels, count in found.items() if labels[0] in ("/predict", "unknown")}

            ask(40)
            assert all(counted() == statuses for _ in range(6))  # each connection may reach another worker
            before = set(workers_of(process))
            os.kill(min(before), signal.SIGKILL)
            deadline = time.monotonic() + 60

            def observed() -> int:
                return len(by(get(f"{url}/metrics").text, "process_open_fds", "worker"))

            while not set(workers_of(process)) - before or observed() < 2:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            ask(20)
            assert all(counted() == statuses for _ in range(6))
            text = get(f"{url}/metrics").text
            assert by(text, "attention_service_sequences_total") == {(): statuses["/predict", "200"]}
            assert {worker for (worker,) in by(text, "process_resident_memory_bytes", "worker")} == {"0", "1"}
            headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-ID": "traced"}
            assert post(f"{url}/predict?version=1", json=SEQUENCE, headers=headers).is_success

            def traced() -> dict[str, Span]:
                return {span.name: span for span in spans if span.trace_id.hex() == TRACE}

            while len(traced()) < 5:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            process.terminate()
            printed = process.communicate(timeout=60)[0]
    found = traced()
    server = found.pop("POST /predict")
    assert server.parent_span_id.hex() == PARENT
    assert {one.key: one.value.string_value for one in server.attributes}["url.query"] == "REDACTED"
    assert set(found) == {"decode", "queue", "inference", "encode"}
    for span in found.values():
        assert span.parent_span_id == server.span_id
        assert server.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
    lines = [json.loads(line) for line in printed.splitlines()]
    assert all({"time", "level", "event"} <= line.keys() for line in lines)
    requests = [line for line in lines if line["event"] == "request"]
    assert sum(line["route"] == "/predict" for line in requests) == statuses["/predict", "200"] + 1
    assert [line["trace_id"] for line in requests if line["request_id"] == "traced"] == [TRACE]


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_traces_are_off_unless_a_receiver_is_named(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    """Each variable that switches them off is respected."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert tracing.telemetry() == tracing.OFF


def test_a_named_receiver_without_the_packages_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The message says what to install, and the service runs without traces."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    assert tracing.telemetry() == tracing.ON
    monkeypatch.setattr(tracing, "EXPORTER", "opentelemetry.exporter.none.such")
    assert tracing.telemetry() == tracing.OFF
    assert "pip install '.[otel]' in the copy of the repository" in caplog.text
