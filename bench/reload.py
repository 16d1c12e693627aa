"""What a reload of NGINX costs clients that keep their connections, for each version of NGINX that we test.

Clients a round trip away send GET and POST over HTTP/1.1 and HTTP/2 at a constant rate while NGINX is reloaded, as it
is when its own configuration or a certificate has changed. No client tries a second time; what is counted is

    safe      GETs that were lost before any byte of an answer, and streams that NGINX said it had not begun (GOAWAY):
              clients repeat these by themselves
    lost      POSTs over HTTP/1.1, which no client may repeat, as the server may have got them

    make bench-reload                      both versions, a table
    make bench-reload ARGS="--distro 13 --seconds 10 --rate 80"
"""

import argparse
import asyncio
import functools
import hashlib
import json
import secrets
import ssl
import sys
import time
import typing as t
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import httpx2
from host import HostError, Paddock, free_port, say
from load import Target, describe
from schedule import write_app

# As NGINX does it, and as this collection has systemd do it.
COMMANDS = ["nginx -s reload", "systemctl reload nginx"]
# Connections that clients keep, of each protocol.
CONNECTIONS = 20


@dataclass
class Distance:
    """A relay that brings a server as far away as it is in real life."""

    port: int  # where the server listens
    seconds: float  # one way
    here: int = field(default_factory=free_port)

    async def start(self) -> asyncio.Server:
        """Listen."""
        return await asyncio.start_server(self._relay, "127.0.0.1", self.here)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.port)
        await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            while data := await reader.read(65536):
                loop.call_later(self.seconds, writer.write, data)
        # As if it came over the wire: what the other side sends until then is on its way, and lost.
        loop.call_later(self.seconds, writer.close)


@dataclass
class Counts:
    """What became of the requests."""

    sent: Counter[str] = field(default_factory=Counter)
    safe: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    texts: Counter[str] = field(default_factory=Counter)

    def failed(self, method: str, kind: str, error: Exception) -> None:
        """Count a failure."""
        text = describe(error)
        gone = isinstance(error, httpx2.NetworkError | httpx2.RemoteProtocolError | ConnectionError)
        safe = isinstance(error, NotBegunError) or (method == "GET" and gone)
        (self.safe if safe else self.lost)[kind] += 1
        self.texts[f"{kind}: {text}"] += 1


@dataclass
class Stream:
    """A request over HTTP/2 on its way."""

    done: asyncio.Future[bytes]
    body: bytearray = field(default_factory=bytearray)


class NotBegunError(Exception):
    """The server said that it has not begun with this request, and takes no more over this connection."""


class Http2(asyncio.Protocol):
    """A connection over HTTP/2 whose client hears at once what the server says, as those of browsers do."""

    def __init__(self) -> None:
        self.protocol = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self.streams: dict[int, Stream] = {}
        self.leaving = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = t.cast("asyncio.Transport", transport)
        self.protocol.initiate_connection()
        self._flush()

    def request(self, method: str, path: str, body: bytes) -> asyncio.Future[bytes]:
        """Send a request; the future is its answer's body."""
        number = self.protocol.get_next_available_stream_id()
        stream = self.streams[number] = Stream(asyncio.get_running_loop().create_future())
        headers = [(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", path)]
        self.protocol.send_headers(number, [*headers, ("content-length", str(len(body)))], end_stream=not body)
        if body:
            self.protocol.send_data(number, body, end_stream=True)
        self._flush()
        return stream.done

    def data_received(self, data: bytes) -> None:
        """Take in what came."""
        for event in self.protocol.receive_data(data):
            match event:
                case h2.events.DataReceived():
                    self.streams[event.stream_id].body += event.data
                    self.protocol.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case h2.events.StreamEnded():
                    stream = self.streams.pop(event.stream_id)
                    stream.done.set_result(bytes(stream.body))
                case h2.events.StreamReset():
                    self._fail(event.stream_id, ConnectionResetError(f"stream reset, {event.error_code}"))
                case h2.events.ConnectionTerminated():
                    self.leaving = True
                    # The server still answers what it has begun, but h2 would not listen any more.
                    self.protocol.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
                    for number in [each for each in self.streams if each > (event.last_stream_id or 0)]:
                        self._fail(number, NotBegunError())
        if not self.leaving:
            self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what has not been answered."""
        self.leaving = True
        for number in list(self.streams):
            self._fail(number, ConnectionResetError(f"connection closed, {exc}"))

    def close(self) -> None:
        """Close."""
        if self._transport:
            self._transport.close()

    def _fail(self, number: int, error: Exception) -> None:
        self.streams.pop(number).done.set_exception(error)

    def _flush(self) -> None:
        if self._transport:
            self._transport.write(self.protocol.data_to_send())


@dataclass
class Http2Client:
    """Sends over one of a few connections, and opens another when the server leaves one."""

    port: int
    tls: ssl.SSLContext
    open: list[Http2] = field(default_factory=list)

    async def send(self, method: str, path: str, body: bytes) -> bytes:
        """Send a request and return its answer's body."""
        self.open = [each for each in self.open if not each.leaving]
        if len(self.open) < CONNECTIONS:
            _, connection = await asyncio.get_running_loop().create_connection(
                Http2, "127.0.0.1", self.port, ssl=self.tls, server_hostname="localhost"
            )
            self.open.append(connection)
        connection = self.open.pop(0)
        self.open.append(connection)
        if connection.leaving:
            return await self.send(method, path, body)
        return await connection.request(method, path, body)


@dataclass
class Http1Client:
    """Sends over kept connections of a real client, which looks whether one is closed before it uses it."""

    http: httpx2.AsyncClient

    async def send(self, method: str, path: str, body: bytes) -> bytes:
        """Send a request and return its answer's body."""
        return (await self.http.request(method, path, content=body)).content


Send = Callable[[str, str, bytes], Awaitable[bytes]]


async def send(port: int, certificate: Path, rate: float, stop: asyncio.Event, counts: Counts) -> None:
    """Send requests of all kinds until stopped."""
    tls = Target(f"https://localhost:{port}", certificate).tls
    tls2 = ssl.create_default_context(cafile=certificate)
    tls2.set_alpn_protocols(["h2"])
    limits = httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    async with (
        httpx2.AsyncClient(
            base_url=f"https://localhost:{port}", verify=tls, timeout=10, trust_env=False, limits=limits
        ) as http,
        asyncio.TaskGroup() as group,
    ):
        clients: dict[str, Send] = {"HTTP/1.1": Http1Client(http).send, "HTTP/2": Http2Client(port, tls2).send}
        for name, client in clients.items():
            for method in ("GET", "POST"):
                group.create_task(_at_rate(client, method, name, rate / 4, stop, counts))


async def _at_rate(client: Send, method: str, name: str, rate: float, stop: asyncio.Event, counts: Counts) -> None:
    async def one() -> None:
        kind = f"{method} {name}"
        counts.sent[kind] += 1
        body = secrets.token_bytes(1024) if method == "POST" else b""
        try:
            async with asyncio.timeout(10):
                answer = json.loads(await client(method, "/upload" if body else "/marker", body))
            uploaded = {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
            if answer != (uploaded if body else {"marker": "m0"}):
                raise ValueError(answer)  # noqa: TRY301
        except Exception as error:  # noqa: BLE001 - whatever it is, the request failed
            counts.failed(method, kind, error)

    due = time.monotonic() + secrets.randbelow(1000) / 1000 / rate
    async with asyncio.TaskGroup() as group:
        while not stop.is_set():
            await asyncio.sleep(max(0, due - time.monotonic()))
            group.create_task(one())
            due += 1 / rate


@dataclass
class Bench:
    """One version of NGINX."""

    fleet: Paddock
    seconds: float
    rate: float
    pause: float
    delay: float
    version: str = ""
    reloads: int = 0
    counts: Counts = field(default_factory=Counts)

    async def prepare(self) -> None:
        """Start the host."""
        await self.fleet.up()
        write_app(self.fleet.source, "m0")
        ran = await self.fleet.play("site")
        if ran.code:
            raise HostError(ran.output[-3000:])
        await self.fleet.fetch_certificate()

    async def run(self, reload: Callable[[], Awaitable[str]]) -> None:
        """Reload under load, and count anew."""
        self.version = (await self.fleet.versions())["nginx"]
        self.reloads, self.counts = 0, Counts()
        host = self.fleet.first
        distance = Distance(host.port, self.delay / 2)
        stop = asyncio.Event()
        async with await distance.start(), asyncio.TaskGroup() as group:
            group.create_task(send(distance.here, host.certificate, self.rate, stop, self.counts))
            await asyncio.sleep(2)
            end = time.monotonic() + self.seconds
            while time.monotonic() < end:
                await reload()
                self.reloads += 1
                await asyncio.sleep(self.pause)
            stop.set()

    def table(self) -> str:
        """Return what was counted."""
        lines = [f"{self.version}, {self.reloads} reloads", f"{'':16}{'sent':>8}{'safe':>8}{'lost':>8}  per reload"]
        for kind, sent in self.counts.sent.items():
            safe, lost = self.counts.safe[kind], self.counts.lost[kind]
            lines.append(f"{kind:16}{sent:8}{safe:8}{lost:8}  {safe / self.reloads:.2f} {lost / self.reloads:.2f}")
        return "\n".join([*lines, *(f"  {count} x {text}" for text, count in self.counts.texts.most_common(8))])


async def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--distro", choices=["12", "13"], nargs="+", default=["12", "13"])
    parser.add_argument("--seconds", type=float, default=30, help="how long NGINX is reloaded again and again")
    parser.add_argument("--rate", type=float, default=200, help="requests per second")
    parser.add_argument("--pause", type=float, default=2, help="seconds between two reloads")
    parser.add_argument("--delay", type=float, default=0.04, help="seconds of a round trip")
    parser.add_argument("--command", default=COMMANDS, nargs="+", help="how NGINX is reloaded, one after the other")
    parser.add_argument("--before", default="true", help="a command that prepares the host, to try something")
    arguments = parser.parse_args()
    benches = [
        Bench(fleet, arguments.seconds, arguments.rate, arguments.pause, arguments.delay)
        for distro in arguments.distro
        for fleet in [Paddock(distro, name=f"bench-{distro}", standby=5)]
    ]
    try:
        say(f"hosts with Debian {' and '.join(arguments.distro)}")
        await asyncio.gather(*(bench.prepare() for bench in benches))
        for bench in benches:
            host = bench.fleet.first
            await host.ask(arguments.before)
            for command in arguments.command:
                say(f"{host.name}: {bench.seconds:g} s of {command}")
                await bench.run(functools.partial(host.ask, command))
                print(bench.table())  # noqa: T201
    except HostError as error:
        say(f"a host could not be set up: {error}")
        return 2
    finally:
        await asyncio.gather(*(bench.fleet.down() for bench in benches))
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
