# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run Gunicorn or Uvicorn so that a worker that ends loses no request.

Uvicorn ends by closing what is idle at once. NGINX keeps connections to the app, and a request that it sends on one at
that very moment is lost if it is not safe to send twice, as a POST. So a worker that is to end, because it has had its
max_requests or was told to, goes on until what is under way is answered. Then it only stops to accept: the others do,
or the next one. It answers what NGINX still sends, until NGINX itself has closed what it keeps. That is soon, as NGINX
uses no connection for long. Event streams that would last longer cost the next server's clients no waiting: while there
is nobody else to accept, only the last seconds of the time to end are spent without.

Workers that have had their max_requests take turns, so that there is always one that accepts.

What an instance tells of itself, its logs, metrics and traces, is in the files beside this one. They are put around the
app in each worker, and the app needs to know nothing of it.

Usage: serve.py gunicorn|uvicorn ARGUMENT...
"""

from __future__ import annotations

import asyncio
import fcntl
import importlib.util
import os
import socket
import sys
import time
import types
import typing as t
from collections.abc import Awaitable, Callable
from pathlib import Path

from uvicorn.config import LOGGING_CONFIG, Config
from uvicorn.server import Server

App = Callable[[t.Any, t.Any, t.Any], Awaitable[None]]

# Seconds: NGINX sends no request on a connection of 2 seconds' age (keepalive_time of its upstream).
KEPT = 2.5
# Seconds for what comes last, of the time to end.
LAST = 5.0
LOOK = 0.1
# Seconds that a server takes at most to notice that a worker has ended, and to start another.
NOTICE = 2.0

HERE = Path(__file__).resolve().parent
HEALTH = os.environ.get("PADDOCK_HEALTH_PATH", "").partition("?")[0]

_tick, _close, _told, _load = Server.on_tick, Server.shutdown, Server.handle_exit, Config.load


def _part(name: str) -> types.ModuleType:
    """Import a file that lies beside this one. Its folder is not where modules are looked for: those are the app's."""
    spec = importlib.util.spec_from_file_location(f"paddock_{name}", HERE / f"{name}.py")
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


_logs = _part("logs")
_metrics = _part("metrics") if "PADDOCK_METRICS" in os.environ else None
_traces = _part("traces") if "PADDOCK_TRACES" in os.environ else None


def _load_observed(config: Config) -> None:
    """Import the app as Uvicorn does, in a worker, and put around it what is to be known of its requests."""
    if _traces:
        _traces.begin(_logs.request_id.get)
        _logs.trace_of = _traces.ids  # type: ignore[attr-defined]
    _load(config)
    _logs.leave_alone()
    for part in (_traces, _metrics):
        if part:
            config.loaded_app = part.wrap(config.loaded_app, _route)
    config.loaded_app = _logs.wrap(_ready(config.loaded_app))


def _route(scope: t.Any, root: str) -> str:
    """Return the template of the route that a request has found.

    What none was found for is all one: paths are made up by clients.
    root: what the path began with before the app looked at it.
    """
    route = scope.get("route")
    template = getattr(route, "path", None)
    if not isinstance(template, str):
        return ""
    # A route of a mounted app begins where that is mounted; the mount itself has no endpoint.
    above = scope.get("root_path", "").removeprefix(root) if hasattr(route, "endpoint") else ""
    return f"{above}{template}"


class _Ending:
    """Whether this process was told to end; it is not, if it has only had its max_requests."""

    told = False


def _be_told(server: Server, sig: int, frame: types.FrameType | None) -> None:
    _Ending.told = True
    _told(server, sig, frame)


def _ready(app: App) -> App:
    """Return the app; once the live instance is to end, it says so when it is asked for its health.

    A load balancer before this host then stops to send requests. One that is not live any more says nothing: the host
    is as ready as the release that is.
    """

    async def ready(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        asked = _Ending.told and scope["type"] == "http" and scope["path"] == scope.get("root_path", "") + HEALTH
        if not asked or (HERE.parents[1] / "current").resolve() != HERE:
            await app(scope, receive, send)
            return
        headers = [(b"content-type", b"application/json"), (b"retry-after", b"5"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"detail":"This instance is about to end."}'})

    return ready


class _Turn:
    """Which worker of this instance may end. Nothing is written: it is a lock on this file, which dies with them."""

    def __init__(self) -> None:
        self.file: int | None = None
        self.since = 0.0
        # Seconds in which the one that had it before is replaced for certain: a start takes as long as this one's.
        self.wait: float | None = None

    def taken(self) -> bool:
        """Tell whether it is this worker's turn, and the one that had it before has been replaced meanwhile."""
        if self.file is None:
            file = os.open(__file__, os.O_RDONLY)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                return False
            self.file, self.since = file, time.monotonic()
            # A process that the app forks must not keep it.
            os.register_at_fork(after_in_child=lambda: os.close(file))
        return time.monotonic() - self.since > (self.wait or NOTICE)


_turn = _Turn()


def _age() -> float:
    """Return for how many seconds this process has existed."""
    started = Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19]
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(started) / os.sysconf("SC_CLK_TCK")


async def _tick_or_wait(server: Server, counter: int) -> bool:
    """Look after what Uvicorn looks after, and put off the end until it is this worker's turn."""
    if _turn.wait is None:
        _turn.wait = NOTICE + 2 * _age()
    limit, had = server.limit_max_requests, server.server_state.total_requests
    if limit is not None and had >= limit and not _turn.taken():
        server.limit_max_requests = had + 1
    if _metrics:
        _metrics.tick(len(server.server_state.tasks))
    ends: bool = await _tick(server, counter)
    return ends


def _cycles(server: Server) -> list[object]:
    """Return what each connection works on or has answered last, None if it waits for its first request.

    A WebSocket has no such thing: Uvicorn ends those, and tells their clients.
    """
    nothing = object()
    cycles = (getattr(connection, "cycle", nothing) for connection in server.server_state.connections)
    return [cycle for cycle in cycles if cycle is not nothing]


def _answered(cycle: object) -> bool:
    return cycle is None or bool(getattr(cycle, "response_complete", False))


async def _pause(server: Server, seconds: float, condition: Callable[[], bool]) -> None:
    """Wait as long as the condition holds, for some seconds at most."""
    begun = time.monotonic()
    while condition() and not server.force_exit and time.monotonic() - begun < seconds:  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(LOOK)


async def _hand_over(server: Server, sockets: list[socket.socket] | None = None) -> None:
    """Finish what is under way, stop to accept, wait for NGINX, and end as Uvicorn does in what is left of the time."""
    begun = time.monotonic()
    allowed = server.config.timeout_graceful_shutdown
    kept = KEPT if allowed is None else min(KEPT, allowed / 2)
    last = LAST if allowed is None else min(LAST, allowed / 2)
    under_way = [cycle for cycle in _cycles(server) if not _answered(cycle)]
    accepts = float("inf") if allowed is None else allowed - kept - last
    await _pause(server, accepts, lambda: not all(map(_answered, under_way)))
    for listening in (*server.servers, *(sockets or [])):
        listening.close()
    await _pause(server, kept, lambda: any(map(_answered, _cycles(server))))
    if allowed is not None:
        server.config.timeout_graceful_shutdown = max(1, allowed - round(time.monotonic() - begun))
    await _close(server)
    if _traces and (sending := _traces.end()):
        await _pause(server, _traces.LAST, sending.is_alive)


def main() -> None:
    """Run the server that the first argument names with the others."""
    server = sys.argv.pop(1)
    if server == "gunicorn":
        from gunicorn.app.wsgiapp import run as serve  # noqa: PLC0415 - it is only there if the app uses it
    else:
        from uvicorn.main import main as serve  # noqa: PLC0415
    serve()


# No subclass: Uvicorn's own workers, those of Gunicorn and the one process all make a Server by that name, and the
# first of them import this file anew, as the main one.
Server.on_tick = _tick_or_wait
Server.shutdown = _hand_over
Server.handle_exit = _be_told
Config.load = _load_observed
_logs.install()
# Uvicorn hands this to the processes that it starts; Gunicorn has a class in its settings.
LOGGING_CONFIG["handlers"]["default"] = {"()": "paddock_logs.make_handler"}

if __name__ == "__main__":
    main()
