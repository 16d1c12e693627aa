"""An app that answers every request with what arrived of it, and keeps a list of all that did."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

SEEN = Path(os.environ["PADDOCK_SHARED"]) / "seen"

app = FastAPI(title="Mirror")


def note(request: Request) -> None:
    """Keep the path as it arrived: whoever asks, a test can see what reached the app."""
    with SEEN.open("a", encoding="ascii") as file:
        file.write(f"{request.method} {request.scope['raw_path'].decode('ascii', 'replace')}\n")


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    """Answer that the app can serve."""
    return {"status": "ok"}


@app.get("/events")
async def events() -> Response:
    """Send an event at once, and another when the client has long looked at the first."""

    async def ticks() -> AsyncIterator[str]:
        yield "data: first\n\n"
        await asyncio.sleep(3)
        yield "data: second\n\n"

    return StreamingResponse(ticks(), media_type="text/event-stream")


@app.api_route("/slow", methods=["GET", "POST"])
async def slow(seconds: float) -> dict[str, float]:
    """Answer after some seconds."""
    await asyncio.sleep(seconds)
    return {"seconds": seconds}


@app.get("/large")
async def large(kind: str = "text/plain", lines: int = 1000) -> PlainTextResponse:
    """Answer with what compresses well, and say that it is of some kind."""
    return PlainTextResponse("all work and no play makes jack a dull boy\n" * lines, media_type=kind)


@app.get("/guarded")
async def guarded() -> Response:
    """Answer with headers that the app has chosen itself."""
    return JSONResponse({}, headers={"X-Frame-Options": "DENY", "X-Paddock-Release": "forged"})


@app.put("/stream")
async def stream(request: Request) -> dict[str, Any]:
    """Tell in how many pieces, and over how many seconds, a body arrived."""
    loop, times = asyncio.get_running_loop(), []
    async for part in request.stream():
        times += [loop.time()] if part else []
    return {"seconds": times[-1] - times[0], "pieces": len(times)}


@app.websocket("/ws")
async def echo(websocket: WebSocket) -> None:
    """Send one message back, with what the request that opened the socket looked like."""
    await websocket.accept()
    text = await websocket.receive_text()
    await websocket.send_json({"text": text, "headers": dict(websocket.headers.items())})
    await websocket.close()


@app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"])
async def mirror(request: Request) -> Response:
    """Answer with the request."""
    note(request)
    body = await request.body()
    found = {
        "method": request.method,
        "path": request.url.path,
        "raw_path": request.scope["raw_path"].decode("ascii", "replace"),
        "root_path": request.scope["root_path"],
        "query": request.url.query,
        "url": str(request.url),
        "client": request.client.host if request.client else None,
        "scheme": request.url.scheme,
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.headers.raw],
        "size": len(body),
        "body": base64.b64encode(body[:1000]).decode(),
    }
    return Response(json.dumps(found), media_type="application/json")
