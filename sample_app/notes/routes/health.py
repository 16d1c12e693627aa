"""Whether the service is alive, whether it is ready, and who it is."""

import asyncio
import os

from fastapi import APIRouter, Request, Response, status
from sqlalchemy.exc import SQLAlchemyError

from notes.database import NotReadyError
from notes.dependencies import ResourcesDep
from notes.schemas import Health, Whoami

DATABASE_TIMEOUT = 2.0

router = APIRouter(tags=["health"])


@router.get("/healthz", response_model_exclude_none=True)
async def healthz() -> Health:
    """Answer that the process is alive. Nothing else is asked, so a database outage restarts no worker."""
    return Health(status="ok")


@router.get(
    "/readyz",
    response_model_exclude_none=True,
    responses={status.HTTP_503_SERVICE_UNAVAILABLE: {"model": Health}},
)
async def readyz(resources: ResourcesDep, response: Response) -> Health:
    """Ask the database, and answer whether requests can be served."""
    response.headers["Cache-Control"] = "no-store"
    try:
        async with asyncio.timeout(DATABASE_TIMEOUT):
            await resources.database.check()
    except NotReadyError as error:
        reason = str(error)
    except TimeoutError:
        reason = f"the database did not answer within {DATABASE_TIMEOUT:g} seconds"
    except (SQLAlchemyError, OSError) as error:
        reason = f"the database does not answer: {getattr(error, 'orig', None) or error}"
    else:
        return Health(status="ok")
    response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    return Health(status="unavailable", reason=reason)


@router.get("/whoami")
async def whoami(request: Request, resources: ResourcesDep) -> Whoami:
    """Tell which release and worker answered, and what of the request came through the proxy."""
    return Whoami(
        client=request.client.host if request.client else None,
        scheme=request.url.scheme,
        host=request.headers.get("host"),
        app=resources.settings.app,
        release=resources.settings.release,
        pid=os.getpid(),
    )
