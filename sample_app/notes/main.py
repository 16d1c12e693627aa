"""The application: `notes.main:app`."""

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypedDict, cast

from fastapi import FastAPI, Request, Response, status
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError

from notes.cpu import Cpu
from notes.database import Database
from notes.dependencies import Resources
from notes.routes import health, notes, page, streams, work
from notes.settings import Settings

logger = logging.getLogger(__name__)


class State(TypedDict):
    """What the lifespan hands to every request."""

    resources: Resources


def create_app(settings: Settings | None = None) -> FastAPI:
    """Put the service together. Nothing is opened before the server starts it."""
    settings = settings or Settings()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
        resources = Resources(settings, Database(settings.database_url), Cpu())
        logger.info("notes started, release %s", settings.release)
        try:
            yield {"resources": resources}
        finally:
            await resources.cpu.close()
            await resources.database.close()
            logger.info("notes stopped")

    app = FastAPI(title="Notes", description="A small service that keeps notes.", lifespan=lifespan)
    app.add_exception_handler(OperationalError, database_unavailable)
    app.add_exception_handler(RequestValidationError, unprocessable)
    for module in (health, notes, streams, work, page):
        app.include_router(module.router)
    app.mount("/static", page.static_files)
    return app


async def database_unavailable(_request: Request, error: Exception) -> JSONResponse:
    """Answer 503 when the database cannot be used at the moment: missing, locked or not migrated."""
    logger.error("the database cannot be used", exc_info=error)
    return JSONResponse(
        {"detail": "The database cannot be used at the moment."},
        status.HTTP_503_SERVICE_UNAVAILABLE,
        headers={"Retry-After": "1"},
    )


async def unprocessable(_request: Request, error: Exception) -> Response:
    """Answer 422 and say what is wrong, without sending back what came: it can be large, or no text at all.

    A lone surrogate is valid in JSON but not in UTF-8, hence the answer in ASCII.
    """
    errors = cast("RequestValidationError", error).errors()
    detail = [{key: item[key] for key in ("type", "loc", "msg")} for item in errors]
    return Response(
        json.dumps({"detail": detail}), status.HTTP_422_UNPROCESSABLE_CONTENT, media_type="application/json"
    )


app = create_app()
