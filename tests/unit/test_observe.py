"""What an instance tells of itself: logs, metrics and traces. The scenario `observability` has the servers with it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import logging
import os
import re
import subprocess
import sys
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.paddock.fastapi.plugins.module_utils._systemd import readable
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import propagate, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased

FILES = Path(__file__).parents[2] / "roles/service/files"
LONGEST = 48 * 1024  # journald's LineMax


def load(name: str) -> t.Any:
    spec = importlib.util.spec_from_file_location(f"paddock_{name}", FILES / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def logs() -> t.Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PADDOCK_APP", "shop")
        patch.setenv("PADDOCK_RELEASE", "R1")
        return load("logs")


def record(message: str, *arguments: object, level: int = logging.INFO, **more: t.Any) -> logging.LogRecord:
    made = logging.LogRecord("shop.web", level, "web.py", 1, message, arguments, None)
    vars(made).update(more)
    made.created, made.msecs = 1795444768.25, 250.0
    return made


def written(logs: t.Any, given_record: logging.LogRecord) -> dict[str, t.Any]:
    """Return the one line of JSON that a record becomes."""
    line = logs.JsonFormatter().format(given_record)
    assert "\n" not in line
    assert len(line.encode(errors="replace")) <= LONGEST
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


# -- logs -----------------------------------------------------------------------------------------------------------


def test_the_schema(logs: t.Any) -> None:
    assert written(logs, record("sold %s of %s", 3, "tea")) == {
        "time": "2026-11-23T14:39:28.250Z",
        "level": "INFO",
        "logger": "shop.web",
        "message": "sold 3 of tea",
        "request_id": "",
        "app": "shop",
        "release": "R1",
        "pid": os.getpid(),
    }


def test_what_is_given_as_extra(logs: t.Any) -> None:
    assert written(logs, record("x", order=7, when=Path("a")))["extra"] == {"order": 7, "when": "a"}


def test_an_exception_is_a_part_of_its_record(logs: t.Any) -> None:
    try:
        int("seven")
    except ValueError:
        found = written(logs, record("no", exc_info=sys.exc_info()))
    assert found["exception"].startswith("Traceback (most recent call last):\n")
    assert found["exception"].endswith("ValueError: invalid literal for int() with base 10: 'seven'")


LOOP: list[t.Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize("odd", [LOOP, {1: {(2, 3): 4}}, {("a", "b"): 1}, object(), float("nan"), b"\xff", "\ud800"])
def test_what_is_not_json(logs: t.Any, odd: object) -> None:
    assert "odd" in str(written(logs, record("x", odd=odd))["extra"])


@given(st.text(), st.dictionaries(st.text(), st.recursive(st.none() | st.text() | st.floats(), st.lists)))
def test_any_record_is_one_line(message: str, extra: dict[str, t.Any]) -> None:
    found = written(load("logs"), record("%s", message, own=extra))
    assert found["message"] == message.rstrip()


@pytest.mark.parametrize("text", ["x" * 200_000, "\u00fc" * 60_000, "\0" * 60_000, '"' * 60_000])
def test_what_is_too_long_is_cut(logs: t.Any, text: str) -> None:
    found = written(logs, record(f"begin {text} end", exc_text=text, stack_info=text, much=[text]))
    assert (found["cut"], found["message"][:6], found["message"][-4:]) == (True, "begin ", " end")
    assert " [...] " in found["exception"]


@pytest.mark.parametrize(
    ("level", "priority"),
    [(logging.DEBUG, 7), (logging.INFO, 6), (25, 6), (logging.WARNING, 4), (logging.ERROR, 3), (logging.CRITICAL, 2)],
)
def test_levels_are_those_of_syslog(level: int, priority: int) -> None:
    assert printed("logger.log(%d, 'a\\nb')" % level, LEVEL="debug", FORMAT="text") == [  # noqa: UP031
        f"<{priority}>{logging.getLevelName(level)} shop: a",
        f"<{priority}>b",
    ]


def printed(code: str, **settings: str) -> list[str]:
    """Return what a process prints that has logs.py installed, as the server's has, and then runs some code."""
    script = f"""
import importlib.util, logging, sys
spec = importlib.util.spec_from_file_location("paddock_logs", {str(FILES / "logs.py")!r})
logs = importlib.util.module_from_spec(spec); sys.modules["paddock_logs"] = logs; spec.loader.exec_module(logs)
logs.install()
logger = logging.getLogger("shop")
{code}
"""
    environment = {f"PADDOCK_LOG_{name}": value for name, value in settings.items()} | {"JOURNAL_STREAM": "8:1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    return done.stderr.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("logger.info('a'); logger.debug('b')", ["INFO a"]),
        # What the app says of where its records go, it has meant.
        (
            "logging.basicConfig(format='OWN %(message)s'); logs.leave_alone(); logger.warning('a'); logger.info('b')",
            [],
        ),
        ("logger.addHandler(logging.NullHandler()); logger.error('a'); logging.error('b')", ["ERROR b"]),
        ("logger.propagate = False; logger.error('a')", ["ERROR a"]),
        (
            "logging.info('a'); logger.info('b'); logging.basicConfig(); logging.warning('c')",
            ["INFO a", "INFO b", "WARNING c"],
        ),
        ("raise RuntimeError('the end')", ["CRITICAL the process ends by an exception"]),
    ],
)
def test_only_what_nobody_else_takes_is_written(code: str, expected: list[str]) -> None:
    lines = [json.loads(line[3:]) for line in printed(code) if line.startswith("<")]
    assert [f"{line['level']} {line['message']}" for line in lines] == expected


@pytest.mark.slow
def test_an_app_that_configures_logging_has_its_own_lines() -> None:
    code = "logging.basicConfig(format='OWN %(message)s'); logs.leave_alone(); logger.warning('a'); logger.info('b')"
    assert printed(code) == ["OWN a"]
    code = "logging.basicConfig(format='OWN %(message)s', level='DEBUG'); logs.leave_alone(); logger.debug('b')"
    assert printed(code) == ["OWN b"]


def test_the_id_of_a_request_is_known_while_it_is_worked_on(logs: t.Any) -> None:
    seen = []

    async def app(_scope: t.Any, _receive: t.Any, _send: t.Any) -> None:
        seen.append((logs.request_id.get(), logs.TextFormatter().format(record("x"))))

    async def run() -> None:
        wrapped = logs.wrap(app)
        for headers in ([(b"a", b"b"), (b"x-request-id", b"r1")], []):
            await asyncio.create_task(wrapped({"type": "http", "headers": headers}, None, None))
        await wrapped({"type": "lifespan"}, None, None)

    asyncio.run(run())
    assert seen == [("r1", "INFO shop.web: x [r1]"), ("", "INFO shop.web: x"), ("", "INFO shop.web: x")]


def test_people_can_read_it_where_a_failed_start_is_shown(logs: t.Any) -> None:
    line = logs.JsonFormatter().format(record("it broke", level=logging.ERROR, exc_text="Traceback:\nKeyError: 'A'"))
    assert readable(line) == ["ERROR shop.web: it broke", "Traceback:", "KeyError: 'A'"]


@pytest.mark.parametrize("line", ["plain", "", "{}", '{"time":', '{"time":1}', '{"time":"x","level":1}'])
def test_other_lines_stay_as_they_are(line: str) -> None:
    assert readable(line) == [line]


# -- metrics --------------------------------------------------------------------------------------------------------

# Each process counts, and ends as it is told to; then another one reads, twice.
COUNTING = """
import asyncio, importlib.util, json, os, signal, sys
def load(name):
    spec = importlib.util.spec_from_file_location("paddock_" + name, sys.argv[1] + "/" + name + ".py")
    module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)
    return module
metrics = load("metrics")
def route_of(scope, root):
    return getattr(scope.get("route"), "path", "")
class Route:
    path = "/items/{n}"
    endpoint = None
async def app(scope, receive, send):
    if scope["path"] == "/boom":
        raise RuntimeError
    if scope["path"].startswith("/items"):
        scope["route"] = Route
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "more_body": True})
    await send({"type": "http.response.body"})
async def ask(wrapped, path, method="GET"):
    sent = []
    async def send(message):
        sent.append(message)
    scope = {"type": "http", "path": path, "method": method, "headers": [(b"accept", b"text/plain")]}
    try:
        await wrapped(scope, None, send)
    except RuntimeError:
        pass
    return b"".join(message.get("body", b"") for message in sent).decode()
def work(requests, end):
    wrapped = metrics.wrap(app, route_of)
    async def run():
        for number in range(requests):
            await ask(wrapped, f"/items/{number}")
        await ask(wrapped, "/boom", "BREW")
    asyncio.run(run())
    if end == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(0)
for requests, end in json.loads(sys.argv[2]):
    child = os.fork()
    if not child:
        work(requests, end)
    os.waitpid(child, 0)
    if end == "read":
        metrics.exposition()
first = metrics.exposition()[0].decode()
wrapped = metrics.wrap(app, route_of)
metrics.tick(3)
print(json.dumps([first, asyncio.run(ask(wrapped, "/metrics")), sorted(os.listdir(metrics.FOLDER)), os.getpid()]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "processes",
    [
        [],
        [(5, "ended")],
        [(5, "ended"), (7, "killed"), (1, "read"), (2, "read"), (3, "killed")],
    ],
)
def test_what_processes_counted_that_have_ended(tmp_path: Path, processes: list[tuple[int, str]]) -> None:
    command = [sys.executable, "-c", COUNTING, str(FILES), json.dumps(processes)]
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PADDOCK_APP": "shop"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    first, second, files, pid = json.loads(done.stdout)

    def figure(text: str, labels: str) -> float:
        found = re.findall(rf"http_server_request_duration_seconds_count{{{re.escape(labels)}}} (\S+)", text)
        return sum(map(float, found))

    for text in (first, second):
        answered = 'http_request_method="GET",http_response_status_code="200",http_route="/items/{n}"'
        assert figure(text, answered) == sum(number for number, _ in processes)
        failed = 'http_request_method="_OTHER",http_response_status_code="500",http_route=""'
        assert figure(text, failed) == len(processes)
    assert 'paddock_release_info{app="shop",release=""} 1.0' in second
    kept = {f"gauge_liveall_{pid}.db", f"gauge_livemax_{pid}.db"}
    assert set(files) == kept | ({"histogram_0.db"} if processes else set())


@pytest.fixture
def metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Any:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    return load("metrics")


def test_there_is_an_end_of_what_is_counted_apart(metrics: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MOST", 3)
    figures = metrics._Figures()  # noqa: SLF001
    for number in range(10):
        figures.count("GET", f"/{number}", 200, 0.1)
    assert set(figures.children) == {("GET", f"/{number}", "200") for number in range(3)} | {("GET", "", "200")}


def test_the_worst_lag_of_the_last_seconds_is_shown(metrics: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = metrics._Figures()  # noqa: SLF001
    now = figures.ticked
    shown: list[float] = []
    figures.lag = types.SimpleNamespace(set=shown.append)
    monkeypatch.setattr(metrics.time, "monotonic", lambda: now)
    for step in [0.1] * 30 + [0.1 + 2.5] + [0.1] * 300:
        now += step
        figures.tick(0)
    assert shown[0] == pytest.approx(0, abs=1e-6)
    assert max(shown) == pytest.approx(2.5)
    seen = [second for second, lag in enumerate(shown) if lag > 1]
    assert len(seen) == metrics.SHOWN
    assert shown[-1] == pytest.approx(0, abs=1e-6)


# -- traces ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> t.Any:
    """Return traces.py, and what it exports; the parameter is the share that is sampled."""
    module = load("traces")
    exporter = InMemorySpanExporter()
    sampler = ParentBased(TraceIdRatioBased(getattr(request, "param", 1)))
    provider = TracerProvider(sampler=sampler, id_generator=module._Ids())  # noqa: SLF001
    provider.add_span_processor(module._Named(lambda: "r1"))  # noqa: SLF001
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(module.trace, "get_tracer_provider", lambda: provider)
    return types.SimpleNamespace(module=module, exporter=exporter)


def wrap(traced: t.Any, app: t.Any) -> t.Any:
    """Return the app as serve.py has it."""
    return traced.module.wrap(app, lambda scope, _root: getattr(scope.get("route"), "path", ""))


def attributes(span: t.Any) -> dict[str, t.Any]:
    """Return what a span says, but for the request's name, which all have."""
    found = dict(span.attributes)
    assert found.pop("http.request.header.x-request-id") == ("r1",)
    return found


def test_a_request_has_a_span(traced: t.Any) -> None:
    seen = []

    async def app(scope: t.Any, _receive: t.Any, send: t.Any) -> None:
        scope["route"] = types.SimpleNamespace(path="/a/{b}")
        seen.append((traced.module.ids(), scope["fastapi.telemetry"]))
        trace.get_tracer("x", tracer_provider=traced.module.trace.get_tracer_provider()).start_span("within").end()
        await send({"type": "http.response.start", "status": 503})
        await send({"type": "http.response.body", "more_body": True})
        await send({"type": "http.response.body"})
        await asyncio.sleep(0.2)  # for what keeps no client waiting

    async def send(_message: t.Any) -> None:
        """Take it."""

    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    scope: dict[str, t.Any] = {"type": "http", "method": "GET", "path": "/a/1", "scheme": "https"}
    scope |= {"headers": [(b"traceparent", parent.encode()), (b"host", b"[::1]:8000")]}
    asyncio.run(wrap(traced, app)(scope, None, send))
    within, span = traced.exporter.get_finished_spans()
    assert (within.parent, dict(within.attributes)) == (span.context, {})
    assert (span.name, span.kind, span.status.status_code) == (
        "GET /a/{b}",
        trace.SpanKind.SERVER,
        trace.StatusCode.ERROR,
    )
    assert attributes(span) == {
        "http.request.method": "GET",
        "url.path": "/a/1",
        "url.scheme": "https",
        "server.address": "[::1]",
        "http.response.status_code": 503,
        "http.route": "/a/{b}",
        "error.type": "503",
    }
    assert span.end_time - span.start_time < 0.2e9
    assert trace.format_trace_id(span.context.trace_id) == "0af7651916cd43dd8448eb211c80319c"
    assert trace.format_span_id(span.parent.span_id) == "b7ad6b7169203331"
    expected = {"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": trace.format_span_id(span.context.span_id)}
    # FastAPI does not make another one.
    assert seen == [(expected, None)]


def test_a_websocket_has_a_span(traced: t.Any) -> None:
    async def app(scope: t.Any, _receive: t.Any, send: t.Any) -> None:
        await send({"type": "websocket.accept"})
        if scope["path"] == "/gone":
            raise type("WebSocketDisconnect", (Exception,), {})

    async def send(_message: t.Any) -> None:
        """Take it."""

    for path in ("/a", "/gone"):
        scope: dict[str, t.Any] = {"type": "websocket", "path": path, "scheme": "wss", "headers": []}
        with contextlib.suppress(Exception):
            asyncio.run(wrap(traced, app)(scope, None, send))
    for span, path in zip(traced.exporter.get_finished_spans(), ("/a", "/gone"), strict=True):
        known = {"network.protocol.name": "websocket", "url.path": path, "url.scheme": "wss"}
        assert (span.name, span.status.status_code, span.events) == ("WS", trace.StatusCode.UNSET, ())
        assert attributes(span) == known


def test_a_request_that_fails_says_by_what(traced: t.Any) -> None:
    async def app(_scope: t.Any, _receive: t.Any, _send: t.Any) -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError):
        ask(wrap(traced, app))
    (span,) = traced.exporter.get_finished_spans()
    assert (span.status.status_code, attributes(span)["error.type"]) == (trace.StatusCode.ERROR, "LookupError")
    assert [event.attributes["exception.message"] for event in span.events] == ["gone"]


def test_a_receiver_that_is_away_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    module = load("traces")
    now, tried = 100.0, []
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    answers = iter([module.SpanExportResult.SUCCESS, module.SpanExportResult.FAILURE] * 2)

    def export(_sender: t.Any, spans: t.Any) -> t.Any:
        tried.append((now, spans))
        return next(answers)

    monkeypatch.setattr(module.OTLPSpanExporter, "export", export)
    sender = module._Sender()  # noqa: SLF001
    for now in (100.0, 101.0, 102.0, 130.9, 131.1, 131.2, 140.0):
        sender.export([now])
    assert tried == [(moment, [moment]) for moment in (100.0, 101.0, 131.1, 131.2)]


class SelfTracing:
    """What is looked at of an app of FastAPI; it begins two spans for each request, and remembers their traces."""

    def __init__(self, tracer: trace.Tracer, **telemetry: object) -> None:
        self._native_telemetry = object()
        self._telemetry = telemetry
        self.tracer = tracer
        self.begun: list[int] = []
        self.passed_by: list[int] = []

    async def __call__(self, scope: t.Any, _receive: t.Any, _send: t.Any) -> None:
        if "fastapi.telemetry" in scope:
            self.passed_by.append(trace.get_current_span().get_span_context().trace_id)
            with self.tracer.start_as_current_span("own") as span:
                assert not span.is_recording()
                assert span.get_span_context().trace_id == self.passed_by[-1]
            return
        parent = propagate.extract({name.decode(): value.decode() for name, value in scope["headers"]})
        with self.tracer.start_as_current_span("a", parent) as span, self.tracer.start_as_current_span("b"):
            self.begun.append(span.get_span_context().trace_id)


def ask(app: t.Any, *headers: tuple[bytes, bytes], kind: str = "http") -> None:
    """Have the app asked as a server does, in a context of its own."""
    scope = {"type": kind, "method": "GET", "path": "/a", "scheme": "https", "headers": headers}
    asyncio.run(app(scope, None, None))


@pytest.mark.parametrize("wanted", ["requests", "operations"])
def test_fastapi_makes_spans_for_who_wants_its_own(traced: t.Any, monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    monkeypatch.setenv("PADDOCK_TRACES", wanted)
    left_out = []

    class App(SelfTracing):
        async def __call__(self, scope: t.Any, _receive: t.Any, _send: t.Any) -> None:
            left_out.append("fastapi.telemetry" in scope)

    ask(wrap(traced, App(traced.module.trace.get_tracer("x"))))
    assert left_out == [wanted == "requests"]
    assert len(traced.exporter.get_finished_spans()) == (wanted == "requests")


@pytest.fixture
def operations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have FastAPI's spans of what is within a request."""
    monkeypatch.setenv("PADDOCK_TRACES", "operations")


@pytest.mark.usefixtures("operations")
@pytest.mark.parametrize("traced", [0.25], indirect=True)
def test_an_app_that_traces_itself_does_so_if_it_is_sampled(traced: t.Any) -> None:
    provider = traced.module.trace.get_tracer_provider()
    app = SelfTracing(provider.get_tracer("x"))
    wrapped = wrap(traced, app)
    for kind in ("http", "websocket") * 200:
        ask(wrapped, (b"host", b"x"), kind=kind)
    spans = traced.exporter.get_finished_spans()
    # It was decided once: what it was begun for is there, complete.
    assert {span.context.trace_id for span in spans} == set(app.begun)
    assert len(spans) == 2 * len(app.begun)
    assert 50 < len(app.begun) < 150
    assert len(app.begun) + len(app.passed_by) == len({*app.begun, *app.passed_by}) == 400


@pytest.mark.parametrize(
    ("wanted", "apps", "are"),
    [("requests", True, False), ("operations", True, True), ("operations", False, False), ("requests", False, False)],
)
def test_spans_within_a_request_are_for_who_wants_them(
    traced: t.Any,
    monkeypatch: pytest.MonkeyPatch,
    wanted: str,
    apps: bool,  # noqa: FBT001 - a parameter of the test
    are: bool,  # noqa: FBT001
) -> None:
    monkeypatch.setenv("PADDOCK_TRACES", wanted)
    app = SelfTracing(traced.module.trace.get_tracer("x"), operation_spans=apps)
    wrap(traced, app)
    assert app._telemetry["operation_spans"] is are  # noqa: SLF001 - FastAPI has no other name for it


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (ParentBased(TraceIdRatioBased(0.25)), 1 << 62),
        (TraceIdRatioBased(0), 0),
        (ALWAYS_OFF, None),
        (ParentBased(ALWAYS_ON), None),
        (ParentBased(type("Derived", (TraceIdRatioBased,), {})(0.25)), None),
    ],
)
def test_only_the_sampler_that_goes_by_a_share_need_not_be_asked(sampler: Sampler, expected: int | None) -> None:
    assert load("traces")._bound(sampler) == expected  # noqa: SLF001


@pytest.mark.usefixtures("operations")
@pytest.mark.parametrize(("sampler", "recorded"), [(ALWAYS_OFF, False), (ParentBased(ALWAYS_ON), True)])
def test_any_other_sampler_is_asked(traced: t.Any, sampler: Sampler, recorded: bool) -> None:  # noqa: FBT001
    provider = traced.module.trace.get_tracer_provider()
    provider.sampler = sampler
    app = SelfTracing(provider.get_tracer("x"))
    ask(wrap(traced, app))
    assert (len(app.begun), len(app.passed_by)) == ((1, 0) if recorded else (0, 1))


@pytest.mark.parametrize("traced", [0], indirect=True)
def test_what_is_not_recorded_has_ids_for_others_but_none_in_the_log(traced: t.Any) -> None:
    seen: list[t.Any] = []

    async def app(_scope: t.Any, _receive: t.Any, _send: t.Any) -> None:
        seen.append(traced.module.ids())
        for _each in range(2):
            carrier: dict[str, str] = {}
            propagate.inject(carrier)
            seen.append(carrier["traceparent"])

    ask(wrap(traced, app))
    assert seen[0] == {}
    assert seen[1] == seen[2]
    assert re.fullmatch(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-00", seen[1])


@pytest.mark.usefixtures("operations")
@pytest.mark.parametrize("traced", [0, 1], indirect=True)
@pytest.mark.parametrize("sampled", [False, True])
def test_who_asks_may_have_decided(traced: t.Any, sampled: bool) -> None:  # noqa: FBT001
    app = SelfTracing(traced.module.trace.get_tracer_provider().get_tracer("x"))
    parent = f"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0{int(sampled)}"
    ask(wrap(traced, app), (b"traceparent", parent.encode()))
    known = [0x0AF7651916CD43DD8448EB211C80319C]
    assert (app.begun, app.passed_by) == ((known, []) if sampled else ([], known))


@pytest.mark.parametrize("traced", [0], indirect=True)
@pytest.mark.parametrize("kind", ["metrics.get_meter_provider", "_logs.get_logger_provider"])
def test_an_app_that_has_fastapi_count_requests_is_never_passed_by(
    traced: t.Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = SelfTracing(traced.module.trace.get_tracer_provider().get_tracer("x"))
    ask(wrap(traced, app))
    wrapped = wrap(traced, app)
    part, name = kind.split(".")
    monkeypatch.setattr(getattr(traced.module, part), name, object)
    ask(wrapped)
    assert (len(app.passed_by), len(app.begun)) == (1, 1)


def test_an_app_that_counts_by_itself_goes_on_in_the_trace_of_who_asks(
    traced: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_out = []

    async def app(scope: t.Any, _receive: t.Any, _send: t.Any) -> None:
        left_out.append("fastapi.telemetry" in scope)

    wrapped = wrap(traced, app)
    monkeypatch.setattr(traced.module.metrics, "get_meter_provider", object)
    ask(wrapped, (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
    (span,) = traced.exporter.get_finished_spans()
    assert trace.format_span_id(span.parent.span_id) == "b7ad6b7169203331"
    # An app of FastAPI that is mounted in it has somebody to tell of each request.
    assert left_out == [False]


@pytest.mark.parametrize("kind", ["tracer", "meter", "logger"])
def test_an_app_with_a_provider_of_its_own_is_left_alone(traced: t.Any, kind: str) -> None:
    app = SelfTracing(traced.module.trace.get_tracer_provider().get_tracer("x"), **{f"{kind}_provider": object()})
    behind = types.SimpleNamespace(app=types.SimpleNamespace(app=app))
    for each in (app, behind):
        assert wrap(traced, each) is each


def test_without_a_provider_nothing_is_left_to_send() -> None:
    assert load("traces").end() is None
