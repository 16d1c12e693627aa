"""Everything that can be set from outside, read once from the environment."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """The service's settings: `NOTES_DATABASE_URL` sets `database_url`, and so on.

    `app` and `release` come from whoever deploys the service, under their own names.
    """

    model_config = SettingsConfigDict(
        env_prefix="NOTES_",
        frozen=True,
        hide_input_in_errors=True,  # a database URL may hold a password
        populate_by_name=True,
    )

    database_url: str = "sqlite+aiosqlite:///./notes.db"
    upload_limit: Annotated[int, Field(ge=0, description="The largest accepted upload, in bytes")] = 100 * 1024 * 1024

    app: Annotated[str | None, Field(validation_alias="PADDOCK_APP")] = None
    release: Annotated[str | None, Field(validation_alias="PADDOCK_RELEASE")] = None
