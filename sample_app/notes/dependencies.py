"""What routes ask for: the settings, a database session, the helper process."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends
from fastapi.requests import HTTPConnection
from sqlalchemy.ext.asyncio import AsyncSession

from notes.cpu import Cpu
from notes.database import Database
from notes.settings import Settings


@dataclass(frozen=True)
class Resources:
    """What the service opens when it starts and closes when it stops."""

    settings: Settings
    database: Database
    cpu: Cpu


def get_resources(connection: HTTPConnection) -> Resources:
    """Return what the lifespan opened."""
    return cast("Resources", connection.state.resources)


ResourcesDep = Annotated[Resources, Depends(get_resources)]


async def get_session(resources: ResourcesDep) -> AsyncIterator[AsyncSession]:
    """Open a session for one request. Whoever writes also commits, before the answer goes out."""
    async with resources.database.session() as session:
        yield session


SessionDep = Annotated[AsyncSession, Depends(get_session)]
