"""Create, read, update and delete."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient


def test_a_note_lives_and_dies(client: TestClient) -> None:
    created = client.post("/notes", json={"title": "  Tyres ", "body": "Two sets"})
    note = created.json()
    assert created.status_code == 201
    assert (note["title"], note["body"]) == ("Tyres", "Two sets")
    assert note["created_at"].endswith("Z")
    assert client.get(created.headers["location"]).json() == note

    updated = client.put(f"/notes/{note['id']}", json={"title": "Rain tyres"}).json()
    assert (updated["title"], updated["body"]) == ("Rain tyres", "")
    assert updated["updated_at"] > note["updated_at"]
    assert updated["created_at"] == note["created_at"]
    assert client.get(f"/notes/{note['id']}").json() == updated

    assert client.delete(f"/notes/{note['id']}").status_code == 204
    for answer in (
        client.get(f"/notes/{note['id']}"),
        client.put(f"/notes/{note['id']}", json={"title": "x"}),
        client.delete(f"/notes/{note['id']}"),
    ):
        assert answer.status_code == 404
        assert answer.json() == {"detail": f"There is no note {note['id']}."}


def test_pages_come_newest_first(client: TestClient) -> None:
    for number in range(5):
        client.post("/notes", json={"title": str(number)})
    page = client.get("/notes", params={"limit": 2, "offset": 1}).json()
    assert [note["title"] for note in page["items"]] == ["3", "2"]
    assert (page["total"], page["limit"], page["offset"]) == (5, 2, 1)
    assert client.get("/notes", params={"offset": 9}).json()["items"] == []


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"title": "  "}',
        b'{"title": null}',
        b'{"title": NaN}',
        b'{"title": "\\ud800"}',
        b'{"title": "x", "\\ud800": 1}',
        b'{"title": "x", "colour": "red"}',
        b"[",
        f'{{"title": "{201 * "x"}"}}'.encode(),
        f'{{"title": "x", "body": "{10_001 * "x"}"}}'.encode(),
    ],
)
def test_a_bad_note_is_refused_with_the_reason(client: TestClient, body: bytes) -> None:
    answer = client.post("/notes", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["msg"]
    assert client.get("/notes").json()["total"] == 0


@pytest.mark.parametrize("path", ["/notes/0", f"/notes/{2**63}", "/notes/x", "/notes?limit=101", "/notes?offset=-1"])
def test_bad_numbers_are_refused(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 422


def test_text_is_kept_as_it_is(client: TestClient) -> None:
    text = "<script>alert('ü')</script> \N{CHEQUERED FLAG}\nline\0two"
    note = client.post("/notes", json={"title": text, "body": text}).json()
    assert note["title"] == note["body"] == text


def test_without_a_database_notes_are_unavailable(connect: Callable[..., TestClient], tmp_path: Path) -> None:
    answer = connect(tmp_path / "nowhere" / "notes.db").get("/notes")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
