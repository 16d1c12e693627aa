"""What goes in and out over HTTP."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Body = Annotated[str, StringConstraints(max_length=10_000)]


class NoteIn(BaseModel):
    """A note as a client sends it."""

    model_config = ConfigDict(extra="forbid")

    title: Title
    body: Body = ""


class NoteOut(BaseModel):
    """A note as the service answers it."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    title: str
    body: str
    created_at: datetime
    updated_at: datetime


class NotePage(BaseModel):
    """One page of notes, and how many there are in all."""

    items: list[NoteOut]
    total: int
    limit: int
    offset: int


class Health(BaseModel):
    """Whether the service is well, and if not, why."""

    status: str
    reason: str | None = None


class Whoami(BaseModel):
    """Who answered, and how the request looked when it arrived."""

    client: str | None
    scheme: str
    host: str | None
    app: str | None
    release: str | None
    pid: int


class Tick(BaseModel):
    """One event of the event stream."""

    number: int
    time: datetime
    release: str | None
    pid: int


class Primes(BaseModel):
    """How many primes there are up to a limit, and the largest of them."""

    limit: int
    count: int
    largest: int | None


class Slow(BaseModel):
    """How long the request was held."""

    seconds: float


class Upload(BaseModel):
    """What was received."""

    size: int
    sha256: str
