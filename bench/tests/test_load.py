"""What the clients count as a failure, and what they do not: seen with real servers."""

import asyncio
import dataclasses
import json
from collections.abc import Awaitable, Callable

import pytest
from load import CLEAN_CLOSES, Load, Markers, NotLoopbackError, Rates, Target, WrongAnswerError, follow, running
from servers import Server
from tally import Kind
from websockets.asyncio.server import ServerConnection, serve

NOTHING = Rates(**dict.fromkeys((entry.name for entry in dataclasses.fields(Rates)), 0))
ONE_SLICE = 0.5
FAULTS = ["reset", "close", "truncate", "500", "wrong", "short", "hang"]


def a_load(url: str, **rates: float) -> Load:
    load = Load(Target(url), dataclasses.replace(NOTHING, **rates), timeout=1, slice_seconds=1)  # type: ignore[arg-type]
    load.markers.allow("m1")
    return load


async def for_a_while(load: Load, seconds: float) -> Load:
    async with running(load):
        await load.stopped(seconds)
    return load


async def python(server: Server) -> Load:
    return await for_a_while(a_load(server.url, kept_get=30, new_get=20, kept_post=20), 1)


async def generators(server: Server) -> Load:
    return await for_a_while(a_load(server.url, bulk=100), ONE_SLICE)


def against(server: Server, clients: Callable[[Server], Awaitable[Load]]) -> Load:
    async def run() -> Load:
        async with server.listening():
            return await clients(server)

    return asyncio.run(run())


def by_client(load: Load, prefix: str) -> tuple[int, set[Kind]]:
    chosen = [failure for failure in load.tally.failures if failure.client.endswith(prefix)]
    return len(chosen), {failure.kind for failure in chosen}


@pytest.mark.parametrize("clients", [python, generators])
def test_right_answers_are_counted_one_by_one(clients: Callable[[Server], Awaitable[Load]]) -> None:
    server = Server()
    load = against(server, clients)
    assert load.tally.failures == []
    assert load.tally.sent == server.requests > 20
    assert all(client.right == client.sent > 0 for client in load.tally.clients.values())


async def unhurried(server: Server) -> Load:
    # A request that is sent at the very moment of the close would be lost: nothing is to be on its way then.
    return await for_a_while(a_load(server.url, kept_get=10, new_get=20, kept_post=7), 1)


async def only_wrk(server: Server) -> Load:
    load = a_load(server.url, bulk=60)
    load.generators = load.generators[:2]
    return await for_a_while(load, ONE_SLICE)


@pytest.mark.parametrize("clients", [unhurried, only_wrk])
def test_a_connection_that_is_closed_while_it_waits_is_no_failure(clients: Callable[[Server], Awaitable[Load]]) -> None:
    server = Server(closes_idle=True, every=4)
    load = against(server, clients)
    assert load.tally.failures == []
    assert load.tally.sent == server.requests > 20


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        pytest.param("reset", Kind.RESET, id="reset"),
        pytest.param("close", Kind.RESET, id="closed"),
        pytest.param("truncate", Kind.TRUNCATED, id="truncated"),
        pytest.param("500", Kind.STATUS, id="500"),
        pytest.param("wrong", Kind.WRONG, id="wrong-body"),
        pytest.param("hang", Kind.TIMEOUT, id="hangs"),
    ],
)
def test_python_clients_count_each_fault(fault: str, kind: Kind) -> None:
    server = Server(fault)
    load = against(server, python)
    assert load.tally.sent == server.requests
    assert len(load.tally.failures) == server.faults > 0
    assert {failure.kind for failure in load.tally.failures} == {kind}


@pytest.fixture(scope="module")
def reports() -> dict[tuple[str, str], tuple[Server, Load]]:
    """Run wrk, and h2load, against a server with each fault, all at the same time: they mostly wait."""

    async def one(fault: str, chosen: slice) -> tuple[Server, Load]:
        server = Server(fault, every=7)
        async with server.listening():
            load = a_load(server.url, bulk=60)
            load.timeout = 2
            load.generators = load.generators[chosen]
            return server, await for_a_while(load, ONE_SLICE)

    async def every() -> list[tuple[Server, Load]]:
        return await asyncio.gather(*(one(fault, chosen) for _, chosen in programs for fault in FAULTS))

    programs = [("wrk", slice(0, 2)), ("h2load", slice(2, 4))]
    return dict(
        zip([(program, fault) for program, _ in programs for fault in FAULTS], asyncio.run(every()), strict=True)
    )


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        pytest.param("reset", Kind.LOST, id="reset"),
        pytest.param("close", Kind.LOST, id="closed"),
        pytest.param("truncate", Kind.LOST, id="truncated"),
        pytest.param("500", Kind.STATUS, id="500"),
        pytest.param("wrong", Kind.WRONG, id="wrong-body"),
        pytest.param("short", Kind.WRONG, id="short-body"),
        pytest.param("hang", Kind.TIMEOUT, id="hangs"),
    ],
)
def test_wrk_counts_each_fault(reports: dict[tuple[str, str], tuple[Server, Load]], fault: str, kind: Kind) -> None:
    server, load = reports["wrk", fault]
    assert load.tally.sent == server.requests
    assert by_client(load, "wrk") == (server.faults, {kind})
    assert server.faults > 0


@pytest.mark.parametrize("fault", ["reset", "close", "truncate", "500", "short", "hang"])
def test_h2load_notices_each_fault(reports: dict[tuple[str, str], tuple[Server, Load]], fault: str) -> None:
    server, load = reports["h2load", fault]
    failed, _ = by_client(load, "h2load")
    assert server.faults > 0
    # It tells how many bytes all answers had, not which answer is at fault.
    assert failed >= (1 if fault == "short" else server.faults)
    assert all(client.unaccounted == 0 for client in load.tally.clients.values())


def test_nobody_there_is_a_failure_of_every_client() -> None:
    load = asyncio.run(
        for_a_while(a_load("http://127.0.0.1:1", bulk=100, kept_get=10, streams=1, sockets=1), ONE_SLICE)
    )
    assert all(client.failed for name, client in load.tally.clients.items() if name != "WebSocket echo")
    assert {failure.kind for failure in load.tally.failures} == {Kind.REFUSED}


def test_a_marker_that_is_not_right_at_the_moment_is_a_wrong_answer() -> None:
    load = against(Server(marker="m2"), lambda server: for_a_while(a_load(server.url, kept_get=20), 0.5))
    assert by_client(load, "GET kept")[1] == {Kind.WRONG}
    assert load.tally.clients["GET kept"].right == 0


def test_markers_are_right_for_a_time() -> None:
    markers = Markers()
    markers.allow("old")
    markers.forbid("old", after=5)
    markers.allow("new")
    now = next(iter(markers._right["new"]))[0]  # noqa: SLF001
    markers.check("old", now, now)
    markers.check("old", now + 4, now + 9)
    markers.check("new", now, now + 100)
    for marker, start in (("old", now + 6), ("never", now), ("new", now - 9)):
        with pytest.raises(WrongAnswerError):
            markers.check(marker, start, start + 1)


@pytest.mark.parametrize(
    ("streams", "failed", "reconnects"),
    [
        pytest.param([("r1", 5, True)], set(), 0, id="whole"),
        pytest.param([("r1", 3, False), ("r2", 5, True)], set(), 1, id="cut-when-its-release-retired"),
        pytest.param([("r1", 3, True), ("r2", 5, True)], set(), 1, id="ended-when-its-release-retired"),
        pytest.param([("r1", 3, False), ("r1", 5, True)], {Kind.TRUNCATED}, 0, id="cut-though-its-release-is-live"),
        pytest.param([("r1", 3, True), ("r1", 5, True)], {Kind.TRUNCATED}, 0, id="ended-though-its-release-is-live"),
        pytest.param([("r1", 0, False), ("r2", 5, True)], {Kind.TRUNCATED}, 0, id="cut-before-the-first-event"),
    ],
)
def test_event_streams(streams: list[tuple[str, int, bool]], failed: set[Kind], reconnects: int) -> None:
    def clients(server: Server) -> Awaitable[Load]:
        load = a_load(server.url, streams=1)
        load.events, load.event_interval = 5, 0.02
        return for_a_while(load, 1)

    load = against(Server(streams=list(streams)), clients)
    client = load.tally.clients["SSE"]
    assert {failure.kind for failure in load.tally.failures} == failed
    assert len(load.tally.failures) == len(failed)
    assert client.reconnects == reconnects
    assert client.right > 2


async def echo(code: int | None, wrong: str = "") -> Load:
    """Talk to a server that closes each connection after three messages, if told how, or answers something else."""

    async def serve_one(socket: ServerConnection) -> None:
        number = 0
        async for message in socket:
            number += 1
            if number > 3 and code:
                if code == 1006:
                    socket.transport.abort()
                else:
                    await socket.close(code)
                return
            await socket.send(wrong or message)

    async with serve(serve_one, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        return await for_a_while(a_load(f"http://127.0.0.1:{port}", sockets=1, echo=30), 1)


@pytest.mark.parametrize("code", CLEAN_CLOSES)
def test_a_server_that_goes_away_is_a_reconnect(code: int) -> None:
    load = asyncio.run(echo(code))
    client = load.tally.clients["WebSocket echo"]
    assert load.tally.failures == []
    assert client.reconnects > 2
    assert client.right == client.sent > 9


@pytest.mark.parametrize("code", [1000, 1006, 1011])
def test_any_other_close_is_a_failure(code: int) -> None:
    load = asyncio.run(echo(code))
    client = load.tally.clients["WebSocket echo"]
    assert client.reconnects == 0
    assert client.failed > 2
    assert client.unaccounted == 0
    assert {failure.kind for failure in load.tally.failures} == {Kind.RESET}


def test_another_echo_is_a_failure() -> None:
    load = asyncio.run(echo(None, "something else"))
    client = load.tally.clients["WebSocket echo"]
    assert client.right == 0
    assert {failure.kind for failure in load.tally.failures} == {Kind.WRONG}


def test_load_is_made_towards_loopback_only() -> None:
    Target("https://localhost:8443")
    with pytest.raises(NotLoopbackError, match="not on this machine"):
        Target("https://192.0.2.1")


def test_a_load_that_is_led_by_another_program(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server(marker="m2")

    async def lead() -> Load:
        orders = asyncio.StreamReader()
        async with server.listening():
            load = a_load(server.url, kept_get=40)
            async with running(load):
                following = asyncio.create_task(follow(load, orders, set()))
                for order in ("m2", "m2", "m3", "m2 m3"):
                    orders.feed_data(f"{order}\n".encode())
                    await load.stopped(0.5)
                orders.feed_eof()
                await following
            return load

    load = asyncio.run(lead())
    news = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    answered = [sum(each["right"].values()) for each in news]
    assert [count > 0 for count in answered] == [False, True, True, True]
    # A marker that is right no more may still come from a connection that NGINX has kept.
    assert load.tally.failures == []
    assert sum(answered) < load.tally.clients["GET kept"].right


def test_what_failed_is_news_once(capsys: pytest.CaptureFixture[str]) -> None:
    async def lead(server: Server) -> Load:
        orders = asyncio.StreamReader()
        load = a_load(server.url, kept_get=40)
        load.markers.forbid("m1")
        async with running(load):
            following = asyncio.create_task(follow(load, orders, set()))
            await load.stopped(0.5)
            orders.feed_data(b"m1\n")
            await load.stopped(0.5)
            orders.feed_data(b"m1\n")
            orders.feed_eof()
            await following
        return load

    load = against(Server(), lead)
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert {failure["kind"] for failure in first["failures"]} == {Kind.WRONG}
    assert len(first["failures"]) == len(load.tally.failures)
    assert second["failures"] == []
    assert second["right"]["GET kept"] > 5
