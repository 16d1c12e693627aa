"""A small app that answers as the sample app does, and fails in the way that FAULT names."""

import asyncio
import base64
import hashlib
import json
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

FAULT = os.environ.get("FAULT", "")
RELEASE = os.environ["PADDOCK_RELEASE"]

if FAULT == "import":
    import shop_payments  # noqa: F401
if FAULT == "import hangs":
    time.sleep(600)


def end() -> None:
    """End as a process does that is out of memory, or whose library has crashed."""
    os._exit(9)


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[None]:
    """Start: slowly, not at all, or for a second."""
    await asyncio.sleep(float(os.environ.get("START_SECONDS", "0")))
    if FAULT == "lifespan":
        os.environ["PAYMENTS_KEY"]
    if FAULT == "lifespan hangs":
        await asyncio.Event().wait()
    if FAULT == "crash":
        threading.Timer(1, end).start()
    yield


async def healthz(request: Request) -> Response:
    """Answer, or do not, that the app can serve."""
    # NGINX gives every request an id, so that one that has none came over the instance's own socket.
    public = "x-request-id" in request.headers
    if FAULT == "500":
        raise RuntimeError("the stock cannot be counted")
    if FAULT == "slow":
        await asyncio.sleep(5)
    if public and FAULT == "slow in public":
        await asyncio.sleep(2)
    if "x-forwarded-for" in request.headers and FAULT == "crash in public":
        end()
    if public and FAULT == "503 in public":
        return JSONResponse({"status": "closed"}, 503)
    return JSONResponse({"status": "warming up" if FAULT == "body" else "ok"})


async def marker(_request: Request) -> Response:
    """Name this variant of the app."""
    return JSONResponse({"marker": os.environ["MARKER"]})


async def upload(request: Request) -> Response:
    """Receive a body."""
    body = await request.body()
    return JSONResponse({"size": len(body), "sha256": hashlib.sha256(body).hexdigest()})


async def create_note(request: Request) -> Response:
    """Keep a note in its id, where every worker of every release finds it."""
    note = await request.json()
    return JSONResponse({**note, "id": base64.urlsafe_b64encode(json.dumps(note).encode()).decode()}, 201)


async def read_note(request: Request) -> Response:
    """Return a note."""
    return JSONResponse(json.loads(base64.urlsafe_b64decode(request.path_params["note"])))


async def slow(request: Request) -> Response:
    """Answer after some seconds."""
    seconds = float(request.query_params["seconds"])
    await asyncio.sleep(seconds)
    return JSONResponse({"seconds": seconds})


async def events(request: Request) -> Response:
    """Send events, each naming the release and the worker."""

    async def ticks() -> AsyncIterator[str]:
        for number in range(1, int(request.query_params["count"]) + 1):
            tick = {"number": number, "release": RELEASE, "pid": os.getpid()}
            yield f"data: {json.dumps(tick)}\n\n"
            await asyncio.sleep(float(request.query_params["interval"]))

    return StreamingResponse(ticks(), media_type="text/event-stream")


async def echo(websocket: WebSocket) -> None:
    """Send every message back."""
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnect:
        pass


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/healthz", healthz),
        Route("/marker", marker),
        Route("/upload", upload, methods=["POST"]),
        Route("/notes", create_note, methods=["POST"]),
        Route("/notes/{note}", read_note),
        Route("/slow", slow),
        Route("/events", events),
        WebSocketRoute("/ws/echo", echo),
    ],
)
