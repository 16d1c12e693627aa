"""An app that uses only the standard library to log, and tells what its servers must then show of it."""

import asyncio
import logging
import os

from fastapi import FastAPI
from prometheus_client import Counter

logger = logging.getLogger("observed")
# What an app counts itself is to be summed up as well.
items = Counter("items_seen", "Items that were asked for.")

if os.environ.get("OWN_LOGGING"):
    logging.basicConfig(format="OWN %(levelname)s %(message)s")

app = FastAPI()
inner = FastAPI()
app.mount("/inner", inner)


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    """Answer that all is well."""
    return {"status": "ok"}


@app.get("/items/{number}")
async def item(number: int, seconds: float = 0) -> dict[str, int]:
    """Log one record, and count."""
    await asyncio.sleep(seconds)
    items.inc()
    logger.info("item %s", number, extra={"number": number})
    return {"number": number, "pid": os.getpid()}


@app.get("/thread/{number}")
def in_a_thread(number: int) -> dict[str, int]:
    """Log from a thread, and what is no news: it is left out."""
    logger.debug("not shown")
    logger.warning("thread %s", number)
    return {"number": number}


@app.get("/boom")
async def boom() -> None:
    """Fail."""
    message = "boom"
    raise RuntimeError(message)


@app.get("/long")
async def long() -> dict[str, int]:
    """Log more than journald takes as one entry."""
    text = "ü" * 100_000
    logger.error("long %s", text)
    return {"length": len(text)}


@app.get("/block")
async def block(seconds: float) -> dict[str, float]:
    """Hold up the event loop."""
    import time  # noqa: PLC0415

    time.sleep(seconds)  # noqa: ASYNC251 - that is the point
    return {"seconds": seconds}


@app.get("/slow")
async def slow(seconds: float) -> dict[str, float]:
    """Answer late."""
    await asyncio.sleep(seconds)
    return {"seconds": seconds}


@inner.get("/{name}")
async def named(name: str) -> dict[str, str]:
    """Be a route of a mounted app."""
    return {"name": name}
