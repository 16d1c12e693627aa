"""Clients whose connections last over a rollout: event streams, a WebSocket, and requests that wait.

It talks to the app of the Molecule scenario `fleet`, says `ready` when all have been answered, ends when the streams
and the WebSocket have been ended by the server, and says then, in JSON, how each one ended. It fails if one ends before
its first answer, and after ten minutes.

    lasting.py https://localhost:8443 --certificate FILE --streams 10 20 300 --requests 3 8
"""

import argparse
import asyncio
import json
import ssl
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx2
from load import Target, describe
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

# Seconds between two messages of the WebSocket, and between two requests of a kind.
PAUSE = 1
# Seconds after which it gives up.
LONGEST = 600


@dataclass
class Lasting:
    """One connection or request: how long it was to last, who answered, how it ended."""

    kind: str
    seconds: float
    start: float = field(default_factory=time.time)
    end: float = 0
    last: float = 0  # when the last answer came
    answers: int = 0
    releases: set[str] = field(default_factory=set)
    code: int | None = None
    problem: str = ""

    def answered(self, release: str) -> None:
        """Count an answer."""
        self.answers += 1
        self.last = time.time()
        self.releases.add(release)


@dataclass
class Clients:
    """All of them, against one server."""

    url: str
    tls: ssl.SSLContext
    all: list[Lasting] = field(default_factory=list)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, streams: list[float], requests: list[float]) -> None:
        """Start all, and wait until the server has ended what it can end."""
        async with asyncio.timeout(LONGEST), asyncio.TaskGroup() as group:
            # Half of the streams over HTTP/2.
            ended = [group.create_task(self._stream(each, http2=bool(n % 2))) for n, each in enumerate(streams)]
            ended.append(group.create_task(self._web_socket()))
            for seconds in requests:
                group.create_task(self._requests(seconds))
            await self.ready.wait()
            print("ready", flush=True)  # noqa: T201
            await asyncio.wait(ended)
            self.over.set()

    def _http(self, *, http2: bool = False) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            base_url=self.url, verify=self.tls, http1=not http2, http2=http2, timeout=60, trust_env=False
        )

    async def _stream(self, seconds: float, *, http2: bool) -> None:
        mine = self._begin("stream h2" if http2 else "stream", seconds)
        try:
            async with self._http(http2=http2) as http, http.sse("/events", params={"seconds": seconds}) as events:
                async for event in events:
                    self._answered(mine, event.data)
        except httpx2.HTTPError as error:
            mine.problem = describe(error)
        self._ended(mine)

    async def _web_socket(self) -> None:
        mine = self._begin("websocket", 0)
        try:
            async with connect(self.url.replace("http", "ws", 1), ssl=self.tls, proxy=None) as socket:
                while True:
                    await socket.send("?")
                    self._answered(mine, str(await socket.recv()))
                    await asyncio.sleep(PAUSE)
        except ConnectionClosed as error:
            mine.code = error.rcvd.code if error.rcvd else None
            mine.problem = describe(error)
        self._ended(mine)

    async def _requests(self, seconds: float) -> None:
        async with self._http() as http, asyncio.TaskGroup() as group:
            while not self.over.is_set():
                group.create_task(self._request(http, seconds))
                await asyncio.sleep(PAUSE)

    async def _request(self, http: httpx2.AsyncClient, seconds: float) -> None:
        mine = self._begin("request", seconds)
        try:
            answer = await http.get("/slow", params={"seconds": seconds})
            mine.code = answer.status_code
            mine.answered(answer.json()["release"])
        except (httpx2.HTTPError, ValueError, KeyError) as error:
            mine.problem = describe(error)
        mine.end = time.time()

    def _answered(self, mine: Lasting, release: str) -> None:
        mine.answered(release)
        if all(each.answers for each in self.all if each.kind != "request"):
            self.ready.set()

    def _ended(self, mine: Lasting) -> None:
        mine.end = time.time()
        if not mine.answers:
            raise RuntimeError(f"{mine.kind} of {mine.seconds} s ended before its first answer: {mine.problem}")

    def _begin(self, kind: str, seconds: float) -> Lasting:
        self.all.append(Lasting(kind, seconds))
        return self.all[-1]


async def main() -> None:
    """Run the clients."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--certificate", type=Path, required=True)
    parser.add_argument("--streams", type=float, nargs="+", default=[])
    parser.add_argument("--requests", type=float, nargs="+", default=[])
    arguments = parser.parse_args()
    target = Target(arguments.url, arguments.certificate)
    clients = Clients(target.url, target.tls)
    await clients.run(arguments.streams, arguments.requests)
    json.dump([{**asdict(each), "releases": sorted(each.releases)} for each in clients.all], sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
