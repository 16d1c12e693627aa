# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Traces by OpenTelemetry, sent to the OTLP receiver that OTEL_EXPORTER_OTLP_ENDPOINT names.

Each request has one span, which is made here, whatever the app is made of: FastAPI's own, since 0.165, costs twice
as much. Those that FastAPI makes of what is within a request are for who asks for them; then it makes them all. All
else is the SDK's, by its own variables: sampling, names, headers. An app that has set up OpenTelemetry is left alone.

Most requests are not recorded, and to find that out only after all spans were begun costs as much as the request. So it
is decided first, and what is not recorded passes by all of this.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import socket
import threading
import time
import typing as t
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar

from opentelemetry import _logs, context, metrics, propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, TraceIdRatioBased

App = Callable[[t.Any, t.Any, t.Any], Awaitable[None]]
# Tells a request's route by its scope, and what the path began with before the app looked at it.
RouteOf = Callable[[t.Any, str], str]

# Seconds that a worker which ends has to send its last spans: a receiver that is away must not hold up a rollout.
LAST = 1.0
# Seconds for which a receiver that is away is left alone. To find out that it is takes ten seconds and six tries, which
# is as much work as a hundred requests.
AWAY = 30.0
# What FastAPI can be given providers of.
SIGNALS = ("tracer", "meter", "logger")
# What is traced: of anything else servers say no more than that they begin and end.
KINDS = frozenset({"http", "websocket"})
PORT = re.compile(r":\d+$")
# In the scope of a request, if it is None, it has FastAPI leave that out.
FASTAPIS = "fastapi.telemetry"


class _Named(SpanProcessor):
    """Give a request's span NGINX's name of it, by which its access log and the app's log can be searched.

    Spans within it are found by their trace; OpenTelemetry's conventions have a header's value on the server's span.
    """

    def __init__(self, request_id: Callable[[], str]) -> None:
        self.request_id = request_id

    def on_start(self, span: Span, parent_context: object = None) -> None:  # noqa: ARG002 - as the SDK calls it
        if span.kind is trace.SpanKind.SERVER and (found := self.request_id()):
            span.set_attribute("http.request.header.x-request-id", [found])


class _Sender(OTLPSpanExporter):
    """Send spans. While the receiver is away they are lost, and it costs nothing to find that out again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.away_until = 0.0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send them, and wait for the answer; the thread that calls this does nothing else."""
        if time.monotonic() < self.away_until:
            return SpanExportResult.FAILURE
        result = super().export(spans)
        if result is not SpanExportResult.SUCCESS:
            self.away_until = time.monotonic() + AWAY
        return result


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


class _Unrecorded(trace.NonRecordingSpan):
    """What stands for a request that is not recorded: what the app begins, or asks others for, is not either.

    Its ids are made when somebody wants them. Most requests end before that.
    """

    def __init__(self, trace_id: int, span_id: Callable[[], int]) -> None:
        self._trace_id = trace_id
        self._span_id = span_id

    @functools.cached_property
    def _context(self) -> trace.SpanContext:  # type: ignore[override]  # an attribute there
        return trace.SpanContext(self._trace_id, self._span_id(), is_remote=False)


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
    provider.add_span_processor(BatchSpanProcessor(_Sender()))
    trace.set_tracer_provider(provider)


def ids() -> dict[str, str]:
    """Return what a log record says of the trace that it belongs to, if it was sampled."""
    span = trace.get_current_span()
    if isinstance(span, _Unrecorded) or not span.get_span_context().trace_flags.sampled:
        return {}
    context = span.get_span_context()
    return {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}


def _tracing_app(app: object) -> t.Any:
    """Return the app, also behind middleware, if it is one of a FastAPI that has spans of its own."""
    while app is not None and not hasattr(app, "_native_telemetry"):
        app = getattr(app, "app", None)
    return app


def wrap(app: App, route_of: RouteOf) -> App:
    """Return the app; its requests are traced."""
    provider = trace.get_tracer_provider()
    fastapi = _tracing_app(app)
    own = getattr(fastapi, "_telemetry", {})
    if not isinstance(provider, TracerProvider) or any(own.get(f"{kind}_provider") for kind in SIGNALS):
        return app
    operations = os.environ.get("PADDOCK_TRACES") == "operations"
    if own and not operations:
        own["operation_spans"] = False
    traced = app if fastapi and operations else _spanned(app, route_of)
    return _sampled(app, traced, provider, tells_others=fastapi is not None)


def _bound(sampler: Sampler) -> int | None:
    """Return below which number the end of a new trace's id has to be for it to be recorded; None: ask the sampler.

    A sampler wraps its answer in objects that take longer to make than all else here. What is derived from this one may
    answer otherwise, so it is asked.
    """
    root = getattr(sampler, "_root", sampler)
    return root.bound if root.__class__ is TraceIdRatioBased else None


def _sampled(app: App, traced: App, provider: TracerProvider, *, tells_others: bool) -> App:
    """Return an app that is traced if the sampler says so.

    traced: the same app with spans. tells_others: it is FastAPI's, which has figures and events of each request, too.
    """
    ids, sampler = provider.id_generator, provider.sampler
    bound, limit = _bound(sampler), TraceIdRatioBased.TRACE_ID_LIMIT
    headers_of_traces = frozenset(name.encode() for name in propagate.get_global_textmap().fields)
    empty = context.Context()

    def others() -> tuple[object, object]:
        return metrics.get_meter_provider(), _logs.get_logger_provider()

    nobody = others()

    @functools.cache
    def alone() -> bool:
        """Tell, with the first request, whether FastAPI has nobody to give each one's figures and events to."""
        return others() == nobody

    def decide(scope: t.Any) -> tuple[bool, context.Context]:
        """Tell whether a request is recorded, and what it is worked on in."""
        headers = scope["headers"]
        if bound is not None and headers_of_traces.isdisjoint([name for name, _value in headers]):
            above, begins, trace_id = empty, True, ids.generate_trace_id()
            recorded = trace_id & limit < bound
            span: trace.Span = _Unrecorded(trace_id, ids.generate_span_id)
        else:
            above = propagate.extract(_texts(headers), empty)
            parent = trace.get_current_span(above).get_span_context()
            begins, trace_id = not parent.trace_id, parent.trace_id or ids.generate_trace_id()
            result = sampler.should_sample(above, trace_id, scope.get("method", "WS"), trace.SpanKind.SERVER)
            recorded = result.decision is not Decision.DROP
            about = trace.SpanContext(trace_id, ids.generate_span_id(), is_remote=False, trace_state=result.trace_state)
            span = trace.NonRecordingSpan(about)
        if recorded:
            _decided.set(trace_id if begins else 0)
            return True, above
        return False, trace.set_span_in_context(span, above)

    async def sampled(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        if scope["type"] not in KINDS or (tells_others and not alone()):
            await app(scope, receive, send)
            return
        recorded, within = decide(scope)
        # For as long as the request: each has a task of its own.
        context.attach(within)
        if alone() and not (recorded and traced is app):
            scope[FASTAPIS] = None
        await (traced if recorded else app)(scope, receive, send)

    return sampled


def _texts(headers: t.Any) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}


class _Request:
    """The span of one request or WebSocket, within the span that there is, if any.

    It says what OpenTelemetry's conventions want said, but for the query: that is where tokens are.
    """

    def __init__(self, tracer: trace.Tracer, scope: t.Any) -> None:
        self.method: str = scope.get("method", "WS")
        about: dict[str, str | int] = {"url.path": scope["path"], "url.scheme": scope["scheme"]}
        if scope["type"] == "http":
            about["http.request.method"] = self.method
        else:
            about["network.protocol.name"] = scope["type"]
        if host := next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), ""):
            about["server.address"] = PORT.sub("", host)
        self.span = tracer.start_span(self.method, kind=trace.SpanKind.SERVER, attributes=about)
        self.found: dict[str, str | int] = {}
        self.ended: int | None = None

    def told(self, message: t.Any) -> None:
        """Note what was sent to who asks."""
        if message["type"] == "http.response.start":
            self.found["http.response.status_code"] = status = message["status"]
            if status >= 500:  # noqa: PLR2004 - a server error
                self.found["error.type"] = str(status)
        elif message["type"] == "http.response.body" and not message.get("more_body"):
            # What the app does after that keeps nobody waiting.
            self.ended = time.time_ns()

    def failed(self, error: Exception) -> None:
        """Note what the app did not catch. A WebSocket ends by such a one if it was not closed."""
        if type(error).__name__ != "WebSocketDisconnect":
            self.found["error.type"] = type(error).__qualname__
            self.span.record_exception(error)

    def end(self, route: str) -> None:
        """Say all that is known by now."""
        if route:
            self.found["http.route"] = route
            self.span.update_name(f"{self.method} {route}")
        if "error.type" in self.found:
            self.span.set_status(trace.StatusCode.ERROR)
        self.span.set_attributes(self.found)
        self.span.end(self.ended)


def _spanned(app: App, route_of: RouteOf) -> App:
    """Return the app with a span for each request."""
    tracer = trace.get_tracer("paddock.fastapi")

    async def spanned(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        root = scope.get("root_path", "")
        request = _Request(tracer, scope)
        context.attach(trace.set_span_in_context(request.span))

        async def sent(message: t.Any) -> None:
            await send(message)
            request.told(message)

        try:
            await app(scope, receive, sent)
        except Exception as error:
            request.failed(error)
            raise
        finally:
            request.end(route_of(scope, root))

    return spanned


def end() -> threading.Thread | None:
    """Send what is left; the thread that is returned does. Who waits for it should not for longer than LAST."""
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        return None
    thread = threading.Thread(target=provider.shutdown, daemon=True)
    thread.start()
    return thread
