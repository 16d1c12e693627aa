"""Tiny servers on loopback that answer as the sample app does, and every few requests do something else."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


def http(body: bytes, status: str = "200 OK") -> bytes:
    """Write an answer."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class Server:
    """Answers right, except each `every`th request, to which it does what `fault` says."""

    fault: str = ""
    every: int = 5
    closes_idle: bool = False  # instead of a fault: end a kept connection that waits, as any server may
    marker: str = "m1"
    # What each event stream is: release, number of events, and whether it then ends as it should.
    streams: list[tuple[str, int, bool]] = field(default_factory=list)
    requests: int = 0
    faults: int = 0
    url: str = ""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Server"]:
        """Serve on a free port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; tell whether the connection stays."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        path = head.split(" ")[1].split("?")[0]
        length = next((int(line[15:]) for line in head.splitlines() if line.startswith("content-length:")), 0)
        body = await reader.readexactly(length)
        self.requests += 1
        if path == "/events":
            await self._stream(writer)
            return False
        answer = self._content(path, body)
        fault = self.fault if self.requests % self.every == 0 else ""
        self.faults += bool(fault)
        stays = fault in {"", "500", "wrong", "short"}
        match fault:
            case "reset":
                writer.transport.abort()
            case "close":
                pass
            case "hang":
                await reader.read()
            case "truncate":
                writer.write(http(answer)[:-3])
            case "500":
                writer.write(http(b"{}", "500 Oh"))
            case "wrong":
                writer.write(http(b"{}".ljust(len(answer))))
            case "short":
                writer.write(http(b"{}"))
            case _:
                writer.write(http(answer))
        await writer.drain()
        if self.closes_idle and self.requests % self.every == 0:
            await asyncio.sleep(0.01)
            return False
        return stays

    def _content(self, path: str, body: bytes) -> bytes:
        contents = {
            "/marker": {"marker": self.marker},
            "/healthz": {"status": "ok"},
            "/upload": {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()},
        }
        return json.dumps(contents[path], separators=(",", ":")).encode()

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        release, count, whole = self.streams.pop(0) if len(self.streams) > 1 else self.streams[0]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(1, count + 1):
            event = f'data: {{"number":{number},"release":"{release}","pid":1}}\n\n'.encode()
            writer.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0.02)
        writer.write(b"0\r\n\r\n" if whole else b"")
