"""How Alembic runs the migrations: on the database the service uses, through the same engine."""

import asyncio

from alembic import context
from sqlalchemy import Connection

from notes.database import create_engine
from notes.models import Base
from notes.settings import Settings


def migrate(connection: Connection) -> None:
    """Run the migrations over an open connection."""
    # SQLite can change little of a table that exists; in batch mode Alembic writes a new one and moves the rows.
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


async def main() -> None:
    """Connect, and run the migrations."""
    engine = create_engine(Settings().database_url)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(migrate)
            await connection.commit()
    finally:
        await engine.dispose()


asyncio.run(main())
