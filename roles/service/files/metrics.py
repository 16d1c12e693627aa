# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus reads at /metrics: figures of all workers of the instance together, whichever of them is asked.

Each process writes its figures to files of its own (prometheus_client's multi-process mode, PROMETHEUS_MULTIPROC_DIR),
so those that an app counts with prometheus_client are summed up as well. systemd empties the folder with each start.
What a process that has ended counted is added up in one file more: sums stay right, and files do not pile up.

Names are those of OpenTelemetry's semantic conventions, where there are any.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import resource
import time
import typing as t
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

App = Callable[[t.Any, t.Any, t.Any], Awaitable[None]]

PATH = "/metrics"
FOLDER = Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR", "."))
# A client can make up others, and each would be a figure more, for ever.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"})
# Seconds; those that OpenTelemetry recommends.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
# Seconds between two looks at the process itself, and for how long the worst lag of its event loop is shown: as long as
# Prometheus usually waits, so that none is missed.
LOOK = 1.0
SHOWN = 15
# Routes, methods and answers that a worker counts apart: there is an end, should clients make up a mounted app's path.
MOST = 2000
# Seconds that Uvicorn sleeps between two of its ticks.
TICK = 0.1
# The file of those that have ended; no process has this number.
ENDED = 0


class _Figures:
    """What this worker counts. Made in the worker: files belong to processes."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        labels = ["http_request_method", "http_route", "http_response_status_code"]
        self.requests = Histogram(
            "http_server_request_duration_seconds",
            "Duration of HTTP server requests.",
            labels,
            buckets=BUCKETS,
            registry=registry,
        )
        self.children: dict[tuple[str, str, str], Histogram] = {}

        def gauge(name: str, text: str, mode: t.Any = "liveall") -> Gauge:
            return Gauge(name, text, registry=registry, multiprocess_mode=mode)

        self.active = gauge("http_server_active_requests", "Requests and WebSockets under way.")
        self.lag = gauge("event_loop_lag_seconds", f"Longest that the event loop was late in the last {SHOWN} seconds.")
        self.cpu = gauge("process_cpu_seconds", "User and system CPU time spent, in seconds.")
        self.memory = gauge("process_resident_memory_bytes", "Resident memory size in bytes.")
        self.files = gauge("process_open_fds", "Number of open file descriptors.")
        gauge("process_max_fds", "Maximum number of open file descriptors.").set(
            resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        )
        gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.").set(time.time())
        Gauge(
            "paddock_release_info",
            "Which release of which app this is.",
            ["app", "release"],
            registry=registry,
            multiprocess_mode="livemax",
        ).labels(os.environ.get("PADDOCK_APP", ""), os.environ.get("PADDOCK_RELEASE", "")).set(1)
        self.lags: deque[float] = deque(maxlen=round(SHOWN / LOOK))
        self.worst = 0.0
        self.ticked = self.looked = time.monotonic()

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request that was answered."""
        key = (method if method in METHODS else "_OTHER", route, str(status))
        child = self.children.get(key)
        if child is None:
            if len(self.children) >= MOST:
                key = (key[0], "", key[2])
            child = self.children[key] = self.requests.labels(*key)
        child.observe(seconds)

    def tick(self, active: int) -> None:
        """Measure how late the event loop is, and look at the process once a second."""
        now = time.monotonic()
        self.worst = max(self.worst, now - self.ticked - TICK)
        self.ticked = now
        if now - self.looked < LOOK:
            return
        self.looked = now
        self.lags.append(self.worst)
        self.worst = 0.0
        self.lag.set(max(self.lags))
        self.active.set(active)
        self.cpu.set(time.process_time())
        self.memory.set(int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize())
        self.files.set(len(list(Path("/proc/self/fd").iterdir())))


# Of this worker: none before it has its app, and one then.
_all: list[_Figures] = []


def tick(active: int) -> None:
    """Be told ten times a second that the event loop runs, and how many requests are under way."""
    for figures in _all:
        figures.tick(active)


def wrap(app: App, route_of: Callable[[t.Any, str], str]) -> App:
    """Return the app; its requests are counted from now on, in this worker, and /metrics is answered here.

    route_of: tells a request's route by its scope, and what the path began with before the app looked at it.
    """
    figures = _Figures()
    _all.append(figures)

    async def observed(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        root = scope.get("root_path", "")
        if scope["path"] == root + PATH:
            await _answer(scope, send)
            return
        begun = time.perf_counter()
        # Of an app that fails before it says anything, Uvicorn says this.
        status = 500
        counted = False

        def count() -> None:
            nonlocal counted
            counted = True
            figures.count(scope["method"], route_of(scope, root), status, time.perf_counter() - begun)

        async def sent(message: t.Any) -> None:
            nonlocal status
            await send(message)
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body" and not message.get("more_body"):
                count()  # what the app does after that keeps no client waiting

        try:
            await app(scope, receive, sent)
        finally:
            if not counted:
                count()

    return observed


async def _answer(scope: t.Any, send: t.Any) -> None:
    """Answer Prometheus. In a thread, because it reads the files of all processes."""
    accept = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"accept"), "")
    body, kind = await asyncio.to_thread(exposition, accept)
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body if scope["method"] != "HEAD" else b""})


def exposition(accept: str = "") -> tuple[bytes, str]:
    """Return the figures of all workers, and in which format: the one of those accepted that tells most."""
    registry = CollectorRegistry()
    with _alone():
        _tidy()
        encoder, kind = choose_encoder(accept)
        MultiProcessCollector(registry, path=str(FOLDER))  # type: ignore[no-untyped-call]
        return encoder(registry), kind


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Keep others from reading while files are put together."""
    folder = os.open(FOLDER, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _tidy() -> None:
    """Put away the files of processes that have ended.

    No hook of the server would do: Gunicorn's worker_exit is not called for a worker of Uvicorn's, Uvicorn has none,
    and processes that the app itself starts count as well.
    """
    for file in FOLDER.glob("*.db"):
        kind, _underscore, pid = file.stem.rpartition("_")
        if not pid.isdigit() or int(pid) == ENDED or _runs(int(pid)):
            continue
        if kind in {"counter", "histogram", "summary"}:
            _add(file, FOLDER / f"{kind}_{ENDED}.db")
        elif not kind.startswith("gauge_live"):
            continue  # an app wants to see it although its process has ended
        file.unlink()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):  # somebody else's has this number now
        return False
    return True


def _add(file: Path, total: Path) -> None:
    """Add the values of one file to another's: to a copy of that, in case this is killed."""
    changed = total.with_suffix(".new")
    changed.unlink(missing_ok=True)
    if total.exists():
        changed.write_bytes(total.read_bytes())
    sums = MmapedDict(str(changed))  # type: ignore[no-untyped-call]
    for key, value, stamp, _position in MmapedDict.read_all_values_from_file(str(file)):  # type: ignore[no-untyped-call]
        before, _stamp = sums.read_value(key)  # type: ignore[no-untyped-call]
        sums.write_value(key, before + value, stamp)  # type: ignore[no-untyped-call]
    sums.close()  # type: ignore[no-untyped-call]
    changed.rename(total)
