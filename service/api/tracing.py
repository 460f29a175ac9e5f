"""Traces by OpenTelemetry: FastAPI's server spans, and the steps of inference as their children.

FastAPI makes a span for each request, with the parent that the headers name (W3C Trace Context).
"""

import importlib.util
import logging
import os
import time
from typing import Final

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from starlette.types import Scope

from service import __version__
from service.api.inference import Steps
from service.errors import how_to_install
from service.serving.model import Model

#: Variables that say where spans are sent to. Without them there are no spans.
ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
SDK: Final = "opentelemetry.sdk"
EXPORTER: Final = "opentelemetry.exporter.otlp.proto.http"
#: Name of the service in spans, unless OTEL_SERVICE_NAME gives another.
SERVICE_NAME: Final = "attention-service"

OFF: Final[TelemetryConfig] = {"tracing": False, "metrics": False, "logs": False}
#: FastAPI reads the other OTEL_ variables. Its spans of dependencies and serialization say nothing about a model.
ON: Final[TelemetryConfig] = {
    "tracing": True,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": True,
}

logger = logging.getLogger(__name__)


def telemetry() -> TelemetryConfig:
    """Return FastAPI's configuration of OpenTelemetry, as the environment says."""
    endpoint = next((name for name in ENDPOINTS if os.environ.get(name)), None)
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if endpoint is None or disabled or os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none":
        return OFF
    if not (_installed(SDK) and _installed(EXPORTER)):
        logger.warning(
            "%s is set, but there are no traces: OpenTelemetry is not installed: %s", endpoint, how_to_install("otel")
        )
        return OFF
    os.environ.setdefault("OTEL_SERVICE_NAME", SERVICE_NAME)
    return ON


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # of a parent package
        return False


def trace_id() -> str | None:
    """Return the id of the trace that this task's request belongs to; None without one."""
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else None


def add_steps(scope: Scope, route: str | None, model: Model | None, steps: Steps | None) -> None:
    """Name the span of the request after its route, and add spans for the steps of inference.

    FastAPI does not name the spans of inference routes, as `DirectRoutes` answers them.
    """
    span = trace.get_current_span()
    if not span.is_recording():
        return
    if route is not None:
        span.update_name(f"{scope['method']} {route}")
        span.set_attribute("http.route", route)
    if scope["query_string"]:  # a client may have sent a secret in it
        span.set_attribute("url.query", "REDACTED")
    if model is not None:
        span.set_attribute("attention_service.model", model.card.name)
        span.set_attribute("attention_service.version", model.version)
    if steps is None:
        return
    span.set_attribute("attention_service.sequences", steps.sequences)
    tracer = trace.get_tracer("attention-service", __version__)
    epoch = time.time() - time.perf_counter()
    queued = steps.received + steps.decode
    called = queued + steps.queue
    for name, begin, end in (
        ("decode", steps.received, queued),
        ("queue", queued, called),
        ("inference", called, called + steps.inference),
        ("encode", steps.ended - steps.encode, steps.ended),
    ):
        step = tracer.start_span(name, start_time=int((epoch + begin) * 1e9))
        step.end(int((epoch + end) * 1e9))
