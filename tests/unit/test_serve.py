"""How a worker ends. Of Uvicorn only the names are here; the scenario `strain` has all of it, under load."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import sys
import time
import types
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SERVE = Path(__file__).parents[2] / "roles/service/files/serve.py"


class Listener:
    """A socket that is listened on."""

    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class Server:
    """What serve.py touches of Uvicorn's."""

    def __init__(self, *connections: object, allowed: int | None = 8) -> None:
        self.config = types.SimpleNamespace(timeout_graceful_shutdown=allowed)
        self.server_state = types.SimpleNamespace(connections=[*connections], total_requests=0, tasks=set())
        self.servers = [Listener()]
        self.force_exit = False
        self.limit_max_requests: int | None = None
        self.ended: list[object] = []

        self.told: list[int] = []

    def handle_exit(self, sig: int, _frame: object) -> None:
        self.told.append(sig)

    async def on_tick(self, _counter: int) -> bool:
        limit = self.limit_max_requests
        return limit is not None and self.server_state.total_requests >= limit

    async def shutdown(self, sockets: list[Listener] | None = None) -> None:
        self.ended.append(sockets)


def http(*, complete: bool | None) -> t.Any:
    """Return a connection: that waits for its first request, that works on one, or that has answered one."""
    return types.SimpleNamespace(cycle=None if complete is None else types.SimpleNamespace(response_complete=complete))


class Config:
    """What serve.py touches of Uvicorn's."""

    loaded_app: t.Any

    def __init__(self, app: t.Any = None) -> None:
        self.app = app

    def load(self) -> None:
        self.loaded_app = self.app


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[t.Any]:
    """Import it, as each worker does; what it changes is the Server and the Config that it finds."""
    module = types.ModuleType("uvicorn.server")
    names = ("on_tick", "shutdown", "handle_exit")
    found = type("Server", (Server,), {name: getattr(Server, name) for name in names})
    module.Server = found  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "uvicorn.server", module)
    config = types.ModuleType("uvicorn.config")
    config.Config = type("Config", (Config,), {"load": Config.load})  # type: ignore[attr-defined]
    config.LOGGING_CONFIG = {"handlers": {"default": {}}}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "uvicorn.config", config)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    for name in ("lastResort", "basicConfig"):
        monkeypatch.setattr(logging, name, getattr(logging, name))
    level = logging.root.level
    monkeypatch.setenv("PADDOCK_HEALTH_PATH", "/healthz?deep=1")
    yield imported(found)
    logging.root.setLevel(level)


def imported(server: type) -> t.Any:
    spec = importlib.util.spec_from_file_location("serve", SERVE)
    assert spec
    assert spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    loaded.Found = server  # type: ignore[attr-defined]
    loaded.KEPT = 0.5  # type: ignore[attr-defined]
    loaded.LAST = 0.6  # type: ignore[attr-defined]
    loaded.LOOK = 0.01  # type: ignore[attr-defined]
    return loaded


@pytest.mark.parametrize(
    ("connections", "allowed", "waits"),
    [
        ((), 8, 0),
        ((http(complete=False),), 1.5, 0.4),  # a stream: it accepts for all but LAST and KEPT
        ((http(complete=False), http(complete=True)), 1.5, 0.9),
        ((types.SimpleNamespace(),), 8, 0),  # a WebSocket
        ((http(complete=True),), 8, 0.5),
        ((http(complete=None),), None, 0.5),
        ((http(complete=True),), 0.4, 0.2),
    ],
)
def test_it_waits_for_nginx_to_close_what_it_keeps(
    serve: t.Any, connections: tuple[object, ...], allowed: int | None, waits: float
) -> None:
    server, listening = serve.Found(*connections, allowed=allowed), Listener()
    begun = time.monotonic()
    asyncio.run(server.shutdown([listening]))
    # A busy machine is late, but not by as much as the next thing to wait for would take.
    assert waits - 0.1 < time.monotonic() - begun < waits + 0.25
    assert (server.servers[0].closed, listening.closed, server.ended) == (1, 1, [None])


def test_it_waits_no_longer_than_it_must(serve: t.Any) -> None:
    async def run() -> float:
        connection = http(complete=True)
        server = serve.Found(connection)
        asyncio.get_running_loop().call_later(0.1, server.server_state.connections.clear)
        begun = time.monotonic()
        await server.shutdown()
        return time.monotonic() - begun

    assert 0.02 < asyncio.run(run()) < 0.35


def test_it_accepts_until_what_is_under_way_is_answered(serve: t.Any) -> None:
    async def run() -> None:
        connection, listening = http(complete=False), Listener()
        server = serve.Found(connection)
        ending = asyncio.ensure_future(server.shutdown([listening]))
        await asyncio.sleep(0.1)
        server.server_state.connections.append(http(complete=False))  # what comes then is not waited for
        await asyncio.sleep(0.1)
        assert (listening.closed, server.ended) == (0, [])
        connection.cycle.response_complete = True
        await asyncio.sleep(0.1)
        assert (listening.closed, server.ended) == (1, [])
        await ending
        assert server.ended == [None]

    asyncio.run(run())


def test_what_it_waited_is_taken_off_the_time_to_end(serve: t.Any) -> None:
    serve.KEPT = 1.1
    server = serve.Found(http(complete=True), allowed=8)
    asyncio.run(server.shutdown())
    assert server.config.timeout_graceful_shutdown == 7


def test_workers_take_turns(serve: t.Any) -> None:
    """The one that has the turn waits until its predecessor has been replaced; the other goes on."""
    first, second = serve, imported(serve.Found)
    assert not first._turn.taken()  # noqa: SLF001
    assert not second._turn.taken()  # noqa: SLF001
    first._turn.since -= 60  # noqa: SLF001
    assert first._turn.taken()  # noqa: SLF001
    assert not second._turn.taken()  # noqa: SLF001
    os.close(first._turn.file)  # noqa: SLF001 - as the end of the worker does
    assert not second._turn.taken()  # noqa: SLF001
    second._turn.since -= 60  # noqa: SLF001
    assert second._turn.taken()  # noqa: SLF001
    os.close(second._turn.file)  # noqa: SLF001


def test_a_worker_goes_on_until_it_is_its_turn(serve: t.Any) -> None:
    async def run() -> None:
        server = serve.Found()
        server.limit_max_requests, server.server_state.total_requests = 100, 100
        for total in (100, 150):
            server.server_state.total_requests = total
            assert not await server.on_tick(0)
            assert server.limit_max_requests == total + 1
        server.server_state.total_requests += 1
        serve._turn.since = float("-inf")  # noqa: SLF001
        assert await server.on_tick(0)

    asyncio.run(run())
    assert serve._turn.wait > serve.NOTICE  # noqa: SLF001
    os.close(serve._turn.file)  # noqa: SLF001


# -- readiness ------------------------------------------------------------------------------------------------------


def answer(app: t.Any, path: str, root_path: str = "") -> tuple[int, dict[bytes, bytes]]:
    """Ask an app for a path, and return the status and the headers of its answer."""
    sent: list[dict[str, t.Any]] = []

    async def send(message: dict[str, t.Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "path": root_path + path, "root_path": root_path, "headers": []}
    asyncio.run(app(scope, None, send))
    return sent[0]["status"], dict(sent[0]["headers"])


async def ok(_scope: t.Any, _receive: t.Any, send: t.Any) -> None:
    """Be an app that is always well."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body"})


@pytest.mark.parametrize(
    ("told", "live", "path", "status"),
    [
        (False, True, "/healthz", 200),
        (True, True, "/healthz", 503),
        (True, True, "/other", 200),
        # The host is as ready as the release that is live now.
        (True, False, "/healthz", 200),
    ],
)
@pytest.mark.parametrize("root_path", ["", "/api"])
def test_who_is_to_end_is_not_ready(
    serve: t.Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    told: bool,
    live: bool,
    path: str,
    status: int,
    root_path: str,
) -> None:
    here = tmp_path / "releases/new"
    here.mkdir(parents=True)
    (tmp_path / "releases/other").mkdir()
    (tmp_path / "current").symlink_to("releases/new" if live else "releases/other")
    monkeypatch.setattr(serve, "HERE", here)
    config = sys.modules["uvicorn.config"].Config(ok)
    config.load()
    server = serve.Found()
    if told:
        server.handle_exit(15, None)
        assert server.told == [15]
    found, headers = answer(config.loaded_app, path, root_path)
    assert found == status
    assert (headers.get(b"retry-after") == b"5") == (status == 503)


def test_a_worker_that_has_had_its_requests_is_ready(serve: t.Any) -> None:
    """Others go on, so a load balancer has no reason to leave."""
    server = serve.Found()
    server.limit_max_requests = 0
    asyncio.run(server.shutdown())
    config = sys.modules["uvicorn.config"].Config(ok)
    config.load()
    assert answer(config.loaded_app, "/healthz")[0] == 200


@pytest.mark.parametrize(
    ("scope", "root", "expected"),
    [
        ({}, "", ""),
        ({"route": types.SimpleNamespace(path="/a/{b}", endpoint=None)}, "", "/a/{b}"),
        ({"route": types.SimpleNamespace(path="/a", endpoint=None), "root_path": "/api"}, "/api", "/a"),
        ({"route": types.SimpleNamespace(path="/a", endpoint=None), "root_path": "/inner"}, "", "/inner/a"),
        ({"route": types.SimpleNamespace(path="/static"), "root_path": "/static"}, "", "/static"),
        ({"route": object()}, "", ""),
    ],
)
def test_routes_are_named_by_their_templates(serve: t.Any, scope: dict[str, t.Any], root: str, expected: str) -> None:
    assert serve._route(scope, root) == expected  # noqa: SLF001
