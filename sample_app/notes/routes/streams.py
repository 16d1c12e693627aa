"""Connections that stay open: Server-Sent Events and WebSocket."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, WebSocket
from fastapi.sse import EventSourceResponse, ServerSentEvent

from notes.dependencies import ResourcesDep
from notes.models import now
from notes.schemas import Tick

router = APIRouter(tags=["streams"])


@router.get("/events", response_class=EventSourceResponse)
async def events(
    resources: ResourcesDep,
    count: Annotated[int, Query(ge=1, le=600)] = 10,
    interval: Annotated[float, Query(ge=0.01, le=10, description="Seconds between two events")] = 1.0,
) -> AsyncIterator[ServerSentEvent]:
    """Send a number of events, each naming the release and the worker that sends it.

    The stream ends by itself, so that a worker that is told to stop can. Browsers then connect again: to the release
    that is live by then.
    """
    for number in range(1, count + 1):
        if number > 1:
            await asyncio.sleep(interval)
        tick = Tick(number=number, time=now(), release=resources.settings.release, pid=os.getpid())
        yield ServerSentEvent(data=tick, id=str(number), retry=1000)


@router.websocket("/ws/echo")
async def echo(websocket: WebSocket) -> None:
    """Send every message back as it came, text or bytes."""
    await websocket.accept()
    while (message := await websocket.receive())["type"] == "websocket.receive":
        if message.get("text") is not None:
            await websocket.send_text(message["text"])
        else:
            await websocket.send_bytes(message["bytes"])
