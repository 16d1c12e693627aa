"""The app of serve.py and observe.py: as little work as possible, so that what is measured is what serves it."""

import asyncio
import hashlib
import logging
from typing import Any

from fastapi import FastAPI, Response

# What does not compress well, as pictures do, but is text; the same on each start.
LARGE = "".join(hashlib.sha256(str(number).encode()).hexdigest() for number in range(1600)).encode()

logger = logging.getLogger(__name__)
app = FastAPI()


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    """Tell that it serves."""
    return {"status": "ok"}


@app.get("/json")
async def small() -> dict[str, Any]:
    """Return a small object."""
    return {"id": 1, "title": "A note", "tags": ["a", "b"], "done": False}


@app.get("/logged")
async def logged() -> dict[str, Any]:
    """Return the same, and log one record."""
    logger.info("A note was asked for")
    return await small()


@app.get("/large")
async def large() -> Response:
    """Return 100 KiB."""
    return Response(LARGE, media_type="application/octet-stream")


@app.post("/echo")
async def echo(body: dict[str, str]) -> dict[str, int]:
    """Return how much text came."""
    return {"size": sum(map(len, body.values()))}


@app.get("/sleep")
async def sleep(seconds: float) -> dict[str, float]:
    """Answer later."""
    await asyncio.sleep(seconds)
    return {"seconds": seconds}
