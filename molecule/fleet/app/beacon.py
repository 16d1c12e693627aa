"""A small ASGI app whose every answer names its release: at once, late, as events and over WebSocket."""

import asyncio
import json
import os
import typing as t
from collections.abc import Awaitable, Callable, Iterator
from urllib.parse import parse_qs

Message = dict[str, t.Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

RELEASE = os.environ["PADDOCK_RELEASE"]
EVENTS_PER_SECOND = 2


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Answer /healthz, /slow?seconds=N, /events?seconds=N, / and WebSocket messages."""
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await echo(receive, send)
    else:
        seconds = float(parse_qs(scope["query_string"].decode()).get("seconds", ["0"])[0])
        if scope["path"] == "/events":
            await respond(send, 200, b"text/event-stream", (event(n) for n in range(int(seconds * EVENTS_PER_SECOND))))
            return
        await asyncio.sleep(seconds)
        healthy = scope["path"] != "/healthz" or "HEALTHY" not in os.environ
        answer = json.dumps({"release": RELEASE, "seconds": seconds}).encode()
        await respond(send, 200 if healthy else 503, b"application/json", iter([answer]))


def event(number: int) -> bytes:
    """Return an event."""
    return f"id: {number}\ndata: {RELEASE}\n\n".encode()


async def respond(send: Send, status: int, kind: bytes, parts: Iterator[bytes]) -> None:
    """Send an answer in parts; events take their time."""
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
    for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
        if kind == b"text/event-stream":
            await asyncio.sleep(1 / EVENTS_PER_SECOND)
    await send({"type": "http.response.body", "body": b""})


async def echo(receive: Receive, send: Send) -> None:
    """Answer every message with the release."""
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": RELEASE})
