"""What only a real server shows: streams, several workers on one database."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

from conftest import RELEASE, Server
from websockets.sync.client import unix_connect


def test_events_arrive_one_by_one(server: Server) -> None:
    arrived: list[float] = []
    ticks: list[dict[str, object]] = []
    with server.http.stream("GET", "/events", params={"count": 3, "interval": 0.2}) as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        for line in answer.iter_lines():
            if line.startswith("data: "):
                arrived.append(time.monotonic())
                ticks.append(json.loads(line.removeprefix("data: ")))
    assert [tick["number"] for tick in ticks] == [1, 2, 3]
    assert {tick["release"] for tick in ticks} == {RELEASE}
    assert arrived[2] - arrived[0] > 0.3


def test_event_streams_are_bounded(server: Server) -> None:
    assert server.http.get("/events", params={"count": 601}).status_code == 422


def test_websocket_sends_text_and_bytes_back(server: Server) -> None:
    with unix_connect(str(server.socket), "ws://notes.test/ws/echo") as websocket:
        for message in ("grid \N{CHEQUERED FLAG}", "", b"\x00\xff", b""):
            websocket.send(message)
            assert websocket.recv(timeout=5) == message


def test_slow_and_heavy_requests_leave_the_workers_free(server: Server) -> None:
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(server.http.get, "/slow?seconds=1.5") for _ in range(4)]
        waiting += [pool.submit(server.http.get, "/primes?limit=2000000") for _ in range(2)]
        began = time.monotonic()
        assert server.http.get("/healthz").status_code == 200
        assert time.monotonic() - began < 1
        assert [future.result().status_code for future in waiting] == 6 * [200]


def test_several_workers_write_at_the_same_time(server: Server) -> None:
    before = server.http.get("/notes").json()["total"]

    def write(number: int) -> list[int]:
        note = server.http.post("/notes", json={"title": f"note {number}"})
        url = note.headers["location"]
        return [
            note.status_code,
            server.http.put(url, json={"title": "changed"}).status_code,
            server.http.delete(url).status_code if number % 2 else server.http.get(url).status_code,
        ]

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(write, range(60)))
        pids = {answer.json()["pid"] for answer in pool.map(server.http.get, 60 * ["/whoami"])}
    assert answers == 30 * [[201, 200, 200], [201, 200, 204]]
    assert server.http.get("/notes").json()["total"] == before + 30
    assert 1 <= len(pids) <= 2
