"""Requests that take their time: waiting, computing, receiving."""

import asyncio
from concurrent.futures.process import BrokenProcessPool
from hashlib import sha256
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request, status
from starlette.requests import ClientDisconnect

from notes.cpu import primes_up_to
from notes.dependencies import ResourcesDep
from notes.schemas import Primes, Slow, Upload

router = APIRouter(tags=["work"])


@router.get("/slow")
async def slow(seconds: Annotated[float, Query(ge=0, le=60)] = 3.0) -> Slow:
    """Answer after some seconds, without keeping the worker from other requests."""
    await asyncio.sleep(seconds)
    return Slow(seconds=seconds)


@router.get("/primes")
async def primes(resources: ResourcesDep, limit: Annotated[int, Query(ge=1, le=5_000_000)] = 1_000_000) -> Primes:
    """Count the primes up to a limit, in a process of its own."""
    try:
        count, largest = await resources.cpu.run(primes_up_to, limit)
    except BrokenProcessPool as error:
        raise HTTPException(status.HTTP_503_SERVICE_UNAVAILABLE, "The computation was killed.") from error
    return Primes(limit=limit, count=count, largest=largest)


@router.post(
    "/upload",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def upload(request: Request, resources: ResourcesDep) -> Upload:
    """Receive the raw request body piece by piece, however large, and answer its size and SHA-256."""
    limit = resources.settings.upload_limit
    too_large = HTTPException(status.HTTP_413_CONTENT_TOO_LARGE, f"An upload may have {limit} bytes.")
    if int(request.headers.get("content-length", "0")) > limit:
        raise too_large
    size, digest = 0, sha256()
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise too_large
            digest.update(chunk)
    except ClientDisconnect as error:
        raise HTTPException(status.HTTP_400_BAD_REQUEST, "The upload broke off.") from error
    return Upload(size=size, sha256=digest.hexdigest())
