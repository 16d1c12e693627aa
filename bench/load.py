"""Mixed traffic against the sample app, each answer compared with the only right one.

Two kinds of clients share the work. Those in Python speak everything (requests on kept and on new connections, over
HTTP/1.1 and HTTP/2, bodies, requests that wait, event streams, WebSockets) and know which answers are right at this
moment. wrk and h2load bring the numbers: they run in slices, at a bounded rate, and report every single request.

    load.py https://localhost:8443 --certificate FILE --marker m1 --seconds 20 --rate 200

With --follow another program leads it: each line that it writes names the markers that are right from then on, and is
answered with a line of JSON that tells what was answered and what failed since the line before. The load ends with its
input, and with a line about the whole of it.
"""

import argparse
import asyncio
import functools
import hashlib
import ipaddress
import json
import math
import os
import re
import secrets
import shutil
import signal
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import httpx2
from httpx2 import AsyncClient
from tally import Client, Kind, Latency, Tally
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

HERE = Path(__file__).parent
# HTTP/2 clients and NGINX part after 1000 requests, which not every client survives with requests on their way.
REQUESTS_PER_H2_CONNECTION = 500
# An upstream connection that NGINX has kept may answer from the old release for this many seconds after a switch.
KEPT = 5.0
CLEAN_CLOSES = (1001, 1012)


class NotLoopbackError(ValueError):
    """The target is somebody else's."""


class WrongAnswerError(Exception):
    """An answer came, but not the right one."""

    def __init__(self, kind: Kind, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class StreamEndedError(Exception):
    """An event stream ended too early."""


class Markers:
    """Which marker of the app's code is right, and when."""

    def __init__(self) -> None:
        self._right: dict[str, list[tuple[float, float]]] = {}
        self.seen: dict[str, float] = {}

    def allow(self, marker: str) -> None:
        """Accept a marker from now on."""
        self._right.setdefault(marker, []).append((time.time(), math.inf))

    def forbid(self, marker: str, after: float = 0) -> None:
        """Accept a marker no more, `after` some seconds."""
        end = time.time() + after
        self._right[marker] = [(since, min(until, end)) for since, until in self._right.get(marker, [])]

    def check(self, marker: str, start: float, end: float) -> None:
        """Compare the marker of an answer to a request between two moments."""
        if not any(since <= end and start <= until for since, until in self._right.get(marker, [])):
            raise WrongAnswerError(Kind.WRONG, f"marker {marker!r} at a moment when it is not right")
        self.seen[marker] = end


@dataclass(frozen=True)
class Target:
    """Where the traffic goes: a listener on this machine's loopback."""

    url: str
    certificate: Path | None = None

    def __post_init__(self) -> None:
        """Refuse a target that is not on this machine."""
        host = urlsplit(self.url).hostname or ""
        addresses = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
        if not all(ipaddress.ip_address(address).is_loopback for address in addresses):
            raise NotLoopbackError(f"{self.url} is not on this machine: load is only made towards loopback")

    @functools.cached_property
    def tls(self) -> ssl.SSLContext:
        """What to trust: exactly the certificate. Made once, because making it takes longer than a request."""
        return ssl.create_default_context(cafile=self.certificate)


@dataclass(frozen=True)
class Rates:
    """Requests per second: of the generators together, and of each client in Python."""

    bulk: float = 200
    kept_get: float = 8
    new_get: float = 5
    kept_post: float = 5
    note: float = 2
    h2_get: float = 5
    h2_post: float = 3
    slow: float = 0.5
    echo: float = 4
    streams: int = 2
    sockets: int = 2


@dataclass
class Load:
    """The traffic: started once, until `stop` is set."""

    target: Target
    rates: Rates = field(default_factory=Rates)
    timeout: float = 10
    slice_seconds: float = 10
    slow_seconds: float = 3
    events: int = 80
    event_interval: float = 0.25
    markers: Markers = field(default_factory=Markers)
    tally: Tally = field(default_factory=Tally)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    # Which generators, whether they post, and their share of the bulk.
    generators: list[tuple["type[Generator]", bool, float]] = field(
        default_factory=lambda: [(Wrk, False, 0.4), (Wrk, True, 0.25), (H2load, False, 0.2), (H2load, True, 0.15)]
    )

    async def run(self) -> None:
        """Send until stopped, wait for what is on its way, and count what never came."""
        clients = [*self._mixed(), *self._bulk()]
        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(client)
        self.tally.close()

    # ---- Clients in Python

    def _mixed(self) -> list[Coroutine[Any, Any, None]]:
        rates = self.rates
        return [
            self._requests("GET kept", rates.kept_get, self._get_marker),
            self._requests("GET new connection", rates.new_get, self._get_marker, new=True),
            self._requests("POST kept", rates.kept_post, self._upload),
            self._requests("POST note, GET it", rates.note, self._note),
            self._requests("GET h2", rates.h2_get, self._get_marker, h2=True),
            # On a busy machine, bodies that overlap on one connection hold each other up in this client, for good.
            self._requests("POST h2", rates.h2_post, self._upload, h2=True, in_turn=True),
            self._requests("GET that waits", rates.slow, self._slow, is_request=False),
            self._requests("GET that waits h2", rates.slow, self._slow, is_request=False, h2=True),
            *(self._event_stream() for _ in range(rates.streams)),
            *(self._web_socket() for _ in range(rates.sockets)),
        ]

    async def _requests(
        self,
        name: str,
        rate: float,
        ask: Callable[[AsyncClient], Awaitable[float]],
        *,
        new: bool = False,
        h2: bool = False,
        in_turn: bool = False,
        is_request: bool = True,
    ) -> None:
        """Send requests at a rate, whether those before have been answered or not, unless they are sent in turn."""
        if not rate:
            return
        client = self.tally.client(name, is_request=is_request)
        http: AsyncClient | None = None
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            due = time.monotonic() + secrets.randbelow(1000) / 1000 / rate
            count = 0
            while not await self.stopped(due - time.monotonic()):
                if http is None or new or (h2 and count % REQUESTS_PER_H2_CONNECTION == 0):
                    http = self._http(h2=h2)
                    if not new:
                        # Closed at the end of all, when nothing is on its way any more.
                        await stack.enter_async_context(http)
                attempt = group.create_task(self._attempt(client, http, ask, close=new))
                if in_turn:
                    await attempt
                count += 1
                due = max(due + 1 / rate, time.monotonic() - 1)

    def _http(self, *, h2: bool = False) -> AsyncClient:
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=60)
        return AsyncClient(
            base_url=self.target.url,
            verify=self.target.tls,
            http1=not h2,
            http2=h2,
            timeout=None,  # _attempt bounds the whole of it
            limits=limits,
            trust_env=False,
        )

    async def _attempt(
        self, client: Client, http: AsyncClient, ask: Callable[[AsyncClient], Awaitable[float]], *, close: bool
    ) -> None:
        client.sent += 1
        start, began = time.time(), time.monotonic()
        try:
            async with asyncio.timeout(self.timeout):
                waited = await ask(http)
        except Exception as error:  # noqa: BLE001 - whatever it is, the request failed
            self.tally.failed(client, kind_of(error), describe(error), start)
        else:
            self.tally.right(client, start, max(0, time.monotonic() - began - waited))
        finally:
            if close:
                with suppress(Exception):
                    await http.aclose()

    async def _get_marker(self, http: AsyncClient) -> float:
        start = time.time()
        answer = await http.get("/marker")
        marker = expect(answer, 200, {"marker": None})["marker"]
        self.markers.check(str(marker), start, time.time())
        return 0

    async def _upload(self, http: AsyncClient) -> float:
        body = secrets.token_bytes(1 + secrets.randbelow(65536))
        answer = await http.post("/upload", content=body)
        expect(answer, 200, {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()})
        return 0

    async def _note(self, http: AsyncClient) -> float:
        note = {"title": secrets.token_hex(8), "body": secrets.token_hex(64)}
        made = expect(await http.post("/notes", json=note), 201, note)
        expect(await http.get(f"/notes/{made['id']}"), 200, note)
        return 0

    async def _slow(self, http: AsyncClient) -> float:
        answer = await http.get("/slow", params={"seconds": self.slow_seconds})
        expect(answer, 200, {"seconds": self.slow_seconds})
        return self.slow_seconds

    async def _event_stream(self) -> None:
        """Read event streams to their end, one after the other.

        A stream that ends early is no failure if the next one comes from another release: its instance has retired.
        Then it is counted as answered, and as a reconnect.
        """
        client = self.tally.client("SSE", is_request=False)
        interrupted: tuple[float, float, str | None, Exception] | None = None  # start, seconds, release, why

        def judge(release: str | None) -> None:
            nonlocal interrupted
            if interrupted:
                start, seconds, before, error = interrupted
                interrupted = None
                if release is not None and before is not None and release != before:
                    client.reconnects += 1
                    self.tally.right(client, start, seconds)
                else:
                    self.tally.failed(client, kind_of(error), f"stream of {before}: {describe(error)}", start)

        async with self._http() as http:
            while not self.stop.is_set():
                client.sent += 1
                start, began = time.time(), time.monotonic()
                first: float | None = None
                release = None
                try:
                    async with aclosing(self._events(http)) as releases:
                        async for release in releases:
                            if first is None:
                                first = time.monotonic() - began
                                judge(release)
                            if self.stop.is_set():
                                break
                except Exception as error:  # noqa: BLE001 - see judge
                    judge(None)
                    interrupted = (start, first or 0, release, error)
                    await self.stopped(0.2)
                else:
                    self.tally.right(client, start, first or 0)
        judge(None)

    async def _events(self, http: AsyncClient) -> AsyncGenerator[str | None, None]:
        """Yield the release that each event names, until all have come."""
        number, release, worker = 0, None, None
        query = {"count": self.events, "interval": self.event_interval}
        async with asyncio.timeout(self.timeout) as timeout, http.sse("/events", params=query) as source:
            async for event in source:
                timeout.reschedule(asyncio.get_running_loop().time() + self.timeout)
                tick = json.loads(event.data)
                number += 1
                release, worker = (release, worker) if number > 1 else (tick["release"], tick["pid"])
                if (tick["number"], tick["release"], tick["pid"]) != (number, release, worker):
                    raise WrongAnswerError(Kind.WRONG, f"event {number} of {release}, {worker} is {event.data}")
                yield release
        if number != self.events:
            raise StreamEndedError(f"{number} of {self.events} events")

    async def _web_socket(self) -> None:
        """Have messages echoed, and connect again when the server says that it goes away.

        A message that was on its way then is sent again, and counted once.
        """
        client = self.tally.client("WebSocket echo", is_request=False)
        connects = self.tally.client("WebSocket connect", is_request=False)
        message = ""
        while message or not self.stop.is_set():
            connects.sent += 1
            start, began = time.time(), time.monotonic()
            try:
                async with asyncio.timeout(self.timeout):
                    socket = await self._open_socket()
            except Exception as error:  # noqa: BLE001 - whatever it is, the connect failed
                self.tally.failed(connects, kind_of(error), describe(error), start)
                if message:
                    self.tally.failed(client, kind_of(error), "no second try after a clean close", start)
                    message = ""
                await self.stopped(0.2)
                continue
            self.tally.right(connects, start, time.monotonic() - began)
            try:
                while not await self.stopped(1 / self.rates.echo) or message:
                    if not message:
                        client.sent += 1
                        message = secrets.token_hex(32)
                    start, began = time.time(), time.monotonic()
                    async with asyncio.timeout(self.timeout):
                        await socket.send(message)
                        if (echo := await socket.recv()) != message:
                            raise WrongAnswerError(Kind.WRONG, f"sent {message}, received {echo!r}")  # noqa: TRY301
                    self.tally.right(client, start, time.monotonic() - began)
                    message = ""
            except ConnectionClosed as error:
                if error.rcvd and error.rcvd.code in CLEAN_CLOSES:
                    client.reconnects += 1
                    continue
                # Nothing may have been on its way; that it was closed so is a failure all the same.
                client.sent += not message
                message = ""
                self.tally.failed(client, Kind.RESET, describe(error), start)
            except Exception as error:  # noqa: BLE001 - whatever it is, the echo failed
                message = ""
                self.tally.failed(client, kind_of(error), describe(error), start)
            finally:
                with suppress(Exception):
                    await asyncio.wait_for(socket.close(), 1)

    async def _open_socket(self) -> ClientConnection:
        scheme, _, rest = self.target.url.partition("://")
        return await connect(
            f"{scheme.replace('http', 'ws')}://{rest}/ws/echo",
            ssl=self.target.tls if scheme == "https" else None,
            proxy=None,
            ping_interval=None,
        )

    async def stopped(self, seconds: float) -> bool:
        """Wait, but not longer than until the load is stopped, and tell whether it is."""
        if seconds > 0 and not self.stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stop.wait(), seconds)
        return self.stop.is_set()

    # ---- Generators

    def _bulk(self) -> list[Coroutine[Any, Any, None]]:
        if not self.rates.bulk:
            return []
        body = secrets.token_bytes(4096)
        health, upload = b'{"status":"ok"}', upload_answer(body)
        return [
            self._slices(
                f"{'POST' if post else 'GET'} {kind.name}",
                kind(
                    self,
                    "/upload" if post else "/healthz",
                    upload if post else health,
                    body if post else None,
                    self.rates.bulk * share,
                ),
            )
            for kind, post, share in self.generators
        ]

    async def _slices(self, name: str, generator: "Generator") -> None:
        """Run a generator again and again; the next run begins when the one before sends no more."""
        client = self.tally.client(name)
        async with asyncio.TaskGroup() as group:
            while not self.stop.is_set():
                group.create_task(generator.slice(client))
                await self.stopped(self.slice_seconds)


@dataclass(frozen=True)
class Generator:
    """A program that sends many requests, all alike."""

    name: ClassVar[str]
    load: Load
    path: str
    expected: bytes
    body: bytes | None
    rate: float

    @property
    def url(self) -> str:
        """What is asked for."""
        return self.load.target.url + self.path

    async def slice(self, client: Client) -> None:
        """Send for the length of a slice, and count what the program reports."""
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            folder = Path(name)
            (folder / "expected").write_bytes(self.expected)
            if self.body is not None:
                (folder / "body").write_bytes(self.body)
            start = time.time()
            output = await self._execute(self.command(folder))
            self.count(client, folder, output, start)

    async def _execute(self, command: list[str]) -> str:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        try:
            async with asyncio.timeout(self.load.slice_seconds + 2 * self.load.timeout + 20):
                output, _ = await process.communicate()
        except TimeoutError:
            return f"{command[0]} did not end"
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return output.decode(errors="replace")

    def command(self, folder: Path) -> list[str]:
        """Return how to run the program for one slice."""
        raise NotImplementedError

    def count(self, client: Client, folder: Path, output: str, start: float) -> None:
        """Count what it reports."""
        raise NotImplementedError

    def note(self, client: Client, began: float, outcome: str, seconds: float) -> None:
        """Count one request of the report."""
        tally = self.load.tally
        client.sent += 1
        if seconds > self.load.timeout or outcome == "hung":
            tally.failed(client, Kind.TIMEOUT, f"{seconds:.1f} s", began)
        elif outcome == "ok":
            tally.right(client, began, seconds)
        elif outcome in {"lost", "-1"}:
            tally.failed(client, Kind.LOST, "the connection ended before the answer was complete", began)
        elif outcome == "unasked":
            tally.failed(client, Kind.OTHER, "an answer that nobody asked for", began)
        elif outcome == "body":
            tally.failed(client, Kind.WRONG, "another body", began)
        else:
            tally.failed(client, Kind.STATUS, outcome, began)


class Wrk(Generator):
    """HTTP/1.1 on kept connections; status and body of every answer are compared."""

    name = "kept, wrk"

    @property
    def connections(self) -> int:
        """Enough that none of them has to send more than about ten times a second."""
        return max(2, min(16, round(self.rate / 10)))

    def command(self, folder: Path) -> list[str]:
        """Run on for the time-out after the last request was sent: what is open then hangs."""
        seconds, timeout = self.load.slice_seconds, math.ceil(self.load.timeout)
        count = str(self.connections)
        length = f"{math.ceil(seconds) + timeout}s"
        command = ["wrk", "-t", count, "-c", count, "-d", length, "--timeout", f"{timeout}s"]
        command += ["-s", str(HERE / "wrk.lua"), self.url, "--"]
        command += [str(folder / "log"), str(seconds), str(self.rate / self.connections), str(folder / "expected")]
        return [*command, str(folder / "body")] if self.body is not None else command

    def count(self, client: Client, folder: Path, output: str, start: float) -> None:
        """Count each line; wrk's own count of what it sent must agree."""
        end: list[int] = []
        before = client.sent
        for path in folder.glob("log.*"):
            for line in path.read_text(encoding="ascii").splitlines():
                began, outcome, took = line.split(maxsplit=2)
                if began == "end":
                    end = [int(outcome), *map(int, took.split())]
                else:
                    self.note(client, float(began) / 1e6, outcome, float(took) / 1e6)
        if not end:
            client.sent += 1
            refused = Kind.REFUSED if "unable to connect" in output else Kind.OTHER
            self.load.tally.failed(client, refused, f"wrk: {output.strip()[-300:]}", start)
            return
        sent, connect_errors, *_ = end
        client.sent += max(0, sent - (client.sent - before))  # Tally.close finds those that have no line
        # While nobody answers wrk tries again thousands of times a second: how often says nothing.
        if connect_errors:
            client.sent += 1
            self.load.tally.failed(client, Kind.REFUSED, f"{connect_errors} tries to connect failed", start)


class H2load(Generator):
    """HTTP/2; of answers it sees the status and how many bytes they had in all."""

    name = "h2, h2load"
    clients = 3

    def command(self, folder: Path) -> list[str]:
        """Send so few requests on each connection that NGINX does not end it under one."""
        rate = self.rate / self.clients
        # h2load counts whole requests per second only.
        each = max(1, round(rate))
        count = min(REQUESTS_PER_H2_CONNECTION, round(each * self.load.slice_seconds)) * self.clients
        command = ["h2load", "-t", "1", "-c", str(self.clients), "-m", "8", "-n", str(count), "--rps", str(each)]
        command += ["-N", f"{math.ceil(self.load.timeout)}s", "--log-file", str(folder / "log")]
        if self.body is not None:
            command += ["-d", str(folder / "body"), "-H", "content-type: application/octet-stream"]
        return [*command, *(["--h1"] if not self.url.startswith("https") else []), self.url]

    def count(self, client: Client, folder: Path, output: str, start: float) -> None:
        """Count each line, and compare with the summary."""
        log = folder / "log"
        right = lines = 0
        for line in log.read_text(encoding="ascii").splitlines() if log.exists() else []:
            began, status, took, *_ = line.split("\t")
            lines += 1
            right += status == "200"
            self.note(client, float(began) / 1e6, "ok" if status == "200" else status, float(took) / 1e6)
        summary = re.search(r"requests: (\d+) total, (\d+) started, (\d+) done", output)
        data = re.search(r"\((\d+)\) data", output)
        tally = self.load.tally
        if not summary or not data:
            client.sent += 1
            tally.failed(client, Kind.OTHER, f"h2load: {output.strip()[-300:]}", start)
            return
        total, started, _ = map(int, summary.groups())
        client.sent += max(0, started - lines)  # Tally.close finds those that have no line
        if started < total:
            client.sent += 1
            text = f"h2load lost its connections with {total - started} of {total} requests still to send"
            tally.failed(client, Kind.REFUSED if not started else Kind.LOST, text, start)
        elif lines == right and int(data[1]) != right * len(self.expected):
            client.sent += 1
            text = f"{right} answers of {len(self.expected)} bytes have {data[1]} bytes in all"
            tally.failed(client, Kind.WRONG, text, start)


def upload_answer(body: bytes) -> bytes:
    """Return what the app answers to an upload."""
    answer = {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    return json.dumps(answer, separators=(",", ":")).encode()


def expect(answer: httpx2.Response, status: int, content: Mapping[str, object]) -> dict[str, object]:
    """Check an answer: its status, and in its JSON these members; one that is None must be there."""
    if answer.status_code != status:
        raise WrongAnswerError(Kind.STATUS, f"{answer.status_code}: {answer.text[:200]!r}")
    try:
        found = answer.json()
    except ValueError as error:
        raise WrongAnswerError(Kind.WRONG, f"no JSON: {answer.text[:200]!r}") from error
    right = isinstance(found, dict) and all(
        key in found and (value is None or found[key] == value) for key, value in content.items()
    )
    if not right:
        raise WrongAnswerError(Kind.WRONG, answer.text[:200])
    return dict(found)


def kind_of(error: BaseException) -> Kind:
    """Tell what went wrong."""
    match error:
        case WrongAnswerError():
            kind = error.kind
        case TimeoutError():
            kind = Kind.TIMEOUT
        case httpx2.ConnectError() | ConnectionRefusedError():
            kind = Kind.REFUSED
        case StreamEndedError():
            kind = Kind.TRUNCATED
        case httpx2.RemoteProtocolError() if "complete" in str(error):  # "incomplete", "without sending complete"
            kind = Kind.TRUNCATED
        case httpx2.TransportError() | OSError() | EOFError() | ConnectionClosed():
            kind = Kind.RESET
        case InvalidHandshake():
            kind = Kind.STATUS
        case _:
            kind = Kind.OTHER
    return kind


def describe(error: BaseException) -> str:
    """Name an error, with what caused it."""
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) and cause not in causes:
        causes.append(cause)
    return " < ".join(f"{type(each).__name__}: {each}".strip(": ")[:300] for each in causes[:3])


def missing_programs() -> list[str]:
    """Return the generators that are not installed."""
    return [program for program in ("wrk", "h2load") if not shutil.which(program)]


@asynccontextmanager
async def running(load: Load) -> AsyncIterator[asyncio.Task[None]]:
    """Run the load beside the body; it stops with it, and on SIGINT and SIGTERM."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, load.stop.set)
    task = asyncio.create_task(load.run())
    try:
        yield task
    finally:
        load.stop.set()
        await task
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def summary(tally: Tally) -> str:
    """Return a table of all clients."""
    rows = [f"{'client':24}{'sent':>9}{'right':>9}{'failed':>8}{'reconnects':>12}{'p50':>9}{'p99':>9}{'max':>9}  ms"]
    for client in tally.clients.values():
        latency = Latency.of(client.seconds)
        figures = (latency.p50, latency.p99, latency.longest) if latency else (math.nan,) * 3
        rows.append(
            f"{client.name:24}{client.sent:9}{client.right:9}{client.failed:8}{client.reconnects:12}"
            + "".join(f"{figure * 1000:9.1f}" for figure in figures)
        )
    return "\n".join(rows)


@dataclass
class News:
    """What became of the load since somebody last asked."""

    load: Load
    _right: dict[str, int] = field(default_factory=dict)
    _failed: int = 0

    def line(self) -> str:
        """Return it as a line of JSON."""
        tally = self.load.tally
        right = {name: client.right for name, client in tally.clients.items()}
        failures = [vars(failure) for failure in tally.failures[self._failed :]]
        since = {name: count - self._right.get(name, 0) for name, count in right.items()}
        self._right, self._failed = right, len(tally.failures)
        return json.dumps({"right": since, "failures": failures})


async def follow(load: Load, orders: asyncio.StreamReader, right: set[str]) -> None:
    """Do as each line says, until there are no more or the load ends by itself. right: the markers so far."""
    news = News(load)
    while line := (await orders.readline()).decode().split():
        for name in {*line} - right:
            load.markers.allow(name)
        for name in right - {*line}:
            load.markers.forbid(name, KEPT)
        right = {*line}
        print(news.line(), flush=True)  # noqa: T201


def call_loopback(name: str) -> None:
    """Have all clients in this process reach loopback by a name, as curl's --resolve does."""
    look_up = socket.getaddrinfo

    def resolve(host: Any, *rest: Any, **options: Any) -> Any:
        return look_up("127.0.0.1" if host in {name, name.encode()} else host, *rest, **options)

    socket.getaddrinfo = resolve


async def standard_input() -> asyncio.StreamReader:
    """Return what is written to this program."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def main() -> int:
    """Run the load by itself."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rate", type=float, default=200, help="requests per second of wrk and h2load together")
    parser.add_argument("--echo", type=float, default=Rates.echo, help="messages per second on each WebSocket")
    parser.add_argument("--timeout", type=float, default=10, help="seconds within which every answer must come")
    parser.add_argument("--marker", action="append", default=[], help="what /marker may answer")
    parser.add_argument(
        "--follow", action="store_true", help="do as the lines on standard input say, --seconds at most"
    )
    parser.add_argument("--name", help="a host name of the URL that is to be loopback, whatever DNS says")
    arguments = parser.parse_args()
    if arguments.name:
        call_loopback(arguments.name)
    target = Target(arguments.url.rstrip("/"), arguments.certificate)
    load = Load(target, Rates(bulk=arguments.rate, echo=arguments.echo), timeout=arguments.timeout)
    for marker in arguments.marker:
        load.markers.allow(marker)
    async with running(load):
        seconds = min(arguments.seconds, 3600)
        if arguments.follow:
            with suppress(TimeoutError):
                await asyncio.wait_for(follow(load, await standard_input(), {*arguments.marker}), seconds)
        else:
            await load.stopped(seconds)
    if arguments.follow:
        print(News(load).line())  # noqa: T201
        return 1 if load.tally.failures else 0
    print(summary(load.tally))  # noqa: T201
    for failure in load.tally.failures[:20]:
        print(f"{failure.time:.3f} {failure.client}: {failure.kind}: {failure.text}")  # noqa: T201
    return 1 if load.tally.failures else 0


if __name__ == "__main__":
    os.chdir(HERE.parent)
    sys.exit(asyncio.run(main()))
