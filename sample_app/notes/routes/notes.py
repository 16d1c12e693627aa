"""Create, read, update and delete notes.

Every change is a single statement. In SQLite, a transaction that reads first and then writes fails when another worker
has written in between, however long it is willing to wait.
"""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response, status
from sqlalchemy import delete, func, select, update

from notes.dependencies import SessionDep
from notes.models import Note
from notes.schemas import NoteIn, NoteOut, NotePage

LARGEST_ID = 2**63 - 1

NoteId = Annotated[int, Path(ge=1, le=LARGEST_ID)]

router = APIRouter(prefix="/notes", tags=["notes"])


def not_found(note_id: int) -> HTTPException:
    """Return the error for a note that is not there."""
    return HTTPException(status.HTTP_404_NOT_FOUND, f"There is no note {note_id}.")


@router.get("")
async def list_notes(
    session: SessionDep,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    offset: Annotated[int, Query(ge=0, le=LARGEST_ID)] = 0,
) -> NotePage:
    """List notes, the newest first."""
    total = await session.scalar(select(func.count()).select_from(Note))
    notes = await session.scalars(select(Note).order_by(Note.id.desc()).limit(limit).offset(offset))
    return NotePage(
        items=[NoteOut.model_validate(note) for note in notes], total=total or 0, limit=limit, offset=offset
    )


@router.post("", status_code=status.HTTP_201_CREATED)
async def create_note(note_in: NoteIn, session: SessionDep, request: Request, response: Response) -> NoteOut:
    """Add a note. `Location` says where it is."""
    note = Note(**note_in.model_dump())
    session.add(note)
    await session.commit()
    response.headers["Location"] = request.app.url_path_for("read_note", note_id=note.id)
    return NoteOut.model_validate(note)


@router.get("/{note_id}")
async def read_note(note_id: NoteId, session: SessionDep) -> NoteOut:
    """Read a note."""
    note = await session.get(Note, note_id)
    if note is None:
        raise not_found(note_id)
    return NoteOut.model_validate(note)


@router.put("/{note_id}")
async def update_note(note_id: NoteId, note_in: NoteIn, session: SessionDep) -> NoteOut:
    """Replace a note's title and body."""
    statement = update(Note).where(Note.id == note_id).values(note_in.model_dump()).returning(Note)
    note = (await session.scalars(statement)).one_or_none()
    await session.commit()
    if note is None:
        raise not_found(note_id)
    return NoteOut.model_validate(note)


@router.delete("/{note_id}", status_code=status.HTTP_204_NO_CONTENT)
async def delete_note(note_id: NoteId, session: SessionDep) -> None:
    """Delete a note."""
    deleted = await session.scalar(delete(Note).where(Note.id == note_id).returning(Note.id))
    await session.commit()
    if deleted is None:
        raise not_found(note_id)
