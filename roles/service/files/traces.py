# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Traces by OpenTelemetry, sent to the OTLP receiver that OTEL_EXPORTER_OTLP_ENDPOINT names.

FastAPI traces its requests itself since 0.165, once there is somebody to give them to; for others this file does. All
else is the SDK's, by its own variables: sampling, names, headers. An app that has set up OpenTelemetry is left alone.

Most requests are not recorded, and to find that out only after all spans were begun costs as much as the request. So it
is decided first, and what is not recorded passes by all of this.
"""

from __future__ import annotations

import functools
import logging
import os
import socket
import threading
import typing as t
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

from opentelemetry import _logs, context, metrics, propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision

App = Callable[[t.Any, t.Any, t.Any], Awaitable[None]]

# Seconds that a worker which ends has to send its last spans: a receiver that is away must not hold up a rollout.
LAST = 1.0
# What FastAPI can be given providers of.
SIGNALS = ("tracer", "meter", "logger")


class _Named(SpanProcessor):
    """Give spans NGINX's name of the request, by which its access log and the app's log can be searched."""

    def __init__(self, request_id: Callable[[], str]) -> None:
        self.request_id = request_id

    def on_start(self, span: Span, parent_context: object = None) -> None:  # noqa: ARG002 - as the SDK calls it
        found = self.request_id()
        if found:
            span.set_attribute("http.request.header.x-request-id", [found])


# The trace that it was decided to record, until its first span has begun.
_decided: ContextVar[int] = ContextVar("paddock_trace_id", default=0)


class _Ids(RandomIdGenerator):
    """Name a trace as it was called when it was decided about: the sampler goes by that."""

    def generate_trace_id(self) -> int:
        found = _decided.get()
        if not found:
            return super().generate_trace_id()
        _decided.set(0)
        return found


def begin(request_id: Callable[[], str]) -> None:
    """Set up OpenTelemetry in this worker: what sends the spans is a thread, and no fork keeps that."""
    # It warns of each try; that the spans of some seconds are lost is enough.
    logging.getLogger(OTLPSpanExporter.__module__).setLevel(logging.ERROR)
    about: dict[str, str | int] = {
        "service.version": os.environ.get("PADDOCK_RELEASE", ""),
        "host.name": socket.gethostname(),
        "process.pid": os.getpid(),
        "paddock.app": os.environ.get("PADDOCK_APP", ""),
        "paddock.release": os.environ.get("PADDOCK_RELEASE", ""),
    }
    provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False, id_generator=_Ids())
    provider.add_span_processor(_Named(request_id))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def ids() -> dict[str, str]:
    """Return what a log record says of the trace that it belongs to, if it was sampled."""
    context = trace.get_current_span().get_span_context()
    if not context.trace_flags.sampled:
        return {}
    return {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}


def _tracing_app(app: object) -> t.Any:
    """Return the app, also behind middleware, if it is one of a FastAPI that has spans of its own."""
    while app is not None and not hasattr(app, "_native_telemetry"):
        app = getattr(app, "app", None)
    return app


def wrap(app: App) -> App:
    """Return the app; its requests are traced."""
    provider = trace.get_tracer_provider()
    fastapi = _tracing_app(app)
    own = getattr(fastapi, "_telemetry", {})
    if not isinstance(provider, TracerProvider) or any(own.get(f"{kind}_provider") for kind in SIGNALS):
        return app
    return _sampled(app if fastapi else _traced(app), app, provider)


def _sampled(traced: App, app: App, provider: TracerProvider) -> App:
    """Return an app that is traced if the sampler says so."""
    ids, sampler = provider.id_generator, provider.sampler
    headers_of_traces = frozenset(name.encode() for name in propagate.get_global_textmap().fields)
    kinds = {"http", "websocket"}

    def others() -> tuple[object, object]:
        return metrics.get_meter_provider(), _logs.get_logger_provider()

    nobody = others()

    @functools.cache
    def alone() -> bool:
        """Tell, with the first request, whether FastAPI has nobody to give each one's figures and events to."""
        return others() == nobody

    async def sampled(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        if scope["type"] not in kinds:
            await app(scope, receive, send)
            return
        headers = scope["headers"]
        above = context.Context()
        if not headers_of_traces.isdisjoint([name for name, _value in headers]):
            above = propagate.extract(_texts(headers), above)
        parent = trace.get_current_span(above).get_span_context()
        trace_id = parent.trace_id or ids.generate_trace_id()
        result = sampler.should_sample(above, trace_id, scope.get("method", "WS"), trace.SpanKind.SERVER)
        if result.decision is not Decision.DROP or not alone():
            _decided.set(0 if parent.trace_id else trace_id)
            await traced(scope, receive, send)
            return
        # What the app begins itself, or asks others for, belongs to a trace that is not recorded.
        span = trace.SpanContext(trace_id, ids.generate_span_id(), is_remote=False, trace_state=result.trace_state)
        context.attach(trace.set_span_in_context(trace.NonRecordingSpan(span), above))
        scope["fastapi.telemetry"] = None  # as FastAPI marks what it is to leave out
        await app(scope, receive, send)

    return sampled


def _texts(headers: t.Any) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}


def _traced(app: App) -> App:
    """Return the app with a span for each request."""
    tracer = trace.get_tracer("paddock.fastapi")

    async def traced(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        method = scope["method"]
        known = {"http.request.method": method, "url.path": scope["path"], "url.scheme": scope["scheme"]}
        with tracer.start_as_current_span(
            method, propagate.extract(_texts(scope["headers"])), trace.SpanKind.SERVER, attributes=known
        ) as span:

            async def sent(message: t.Any) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:  # noqa: PLR2004 - a server error
                        span.set_status(trace.StatusCode.ERROR)
                await send(message)

            try:
                await app(scope, receive, sent)
            finally:
                template = getattr(scope.get("route"), "path", None)
                if isinstance(template, str):
                    span.set_attribute("http.route", template)
                    span.update_name(f"{method} {template}")

    return traced


def end() -> threading.Thread | None:
    """Send what is left; the thread that is returned does. Who waits for it should not for longer than LAST."""
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        return None
    thread = threading.Thread(target=provider.shutdown, daemon=True)
    thread.start()
    return thread
