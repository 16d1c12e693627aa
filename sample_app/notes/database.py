"""The database: how it is opened, and whether its schema fits this release."""

from functools import cached_property
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from typing import TYPE_CHECKING

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

if TYPE_CHECKING:
    from sqlalchemy import Connection

MIGRATIONS = Path(__file__).parent / "migrations"


def create_engine(url: str) -> AsyncEngine:
    """Return an engine that connects when it is first used; several processes may write to one SQLite file."""
    engine = create_async_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: SqliteConnection, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout = 5000")  # wait for another writer instead of failing
    cursor.execute("PRAGMA journal_mode = WAL")  # readers and a writer do not block each other
    cursor.execute("PRAGMA synchronous = NORMAL")  # with WAL, safe against a crash of the service
    cursor.close()


class NotReadyError(Exception):
    """The schema in the database is not the one this release needs."""


class Database:
    """One engine and its sessions, for as long as the service runs."""

    def __init__(self, url: str) -> None:
        """Remember where the database is. Nothing is opened yet."""
        self.engine = create_engine(url)
        self.session = async_sessionmaker(self.engine, class_=AsyncSession, expire_on_commit=False)

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()

    async def check(self) -> None:
        """Return if the database answers and has the schema; raise `NotReadyError` or the database's own error.

        A revision this release has never heard of is fine: a newer release has migrated the database while this one
        still serves, or this one was rolled back to. Migrations only ever add, so that both can work with it.
        """
        async with self.engine.connect() as connection:
            current = await connection.run_sync(_current_revision)
        if current is None:
            raise NotReadyError("the database has no schema: run `alembic upgrade head`")
        if current in self._revisions and current != self._head:
            raise NotReadyError(f"the schema is at {current}, not {self._head}: run `alembic upgrade head`")

    @cached_property
    def _scripts(self) -> ScriptDirectory:
        return ScriptDirectory(str(MIGRATIONS))

    @cached_property
    def _head(self) -> str | None:
        return self._scripts.get_current_head()

    @cached_property
    def _revisions(self) -> frozenset[str]:
        return frozenset(script.revision for script in self._scripts.walk_revisions())


def _current_revision(connection: "Connection") -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
