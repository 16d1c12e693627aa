"""Alive, ready, and who."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from conftest import alembic
from fastapi.testclient import TestClient
from pydantic import ValidationError

from notes.settings import Settings

Connect = Callable[..., TestClient]


def set_revision(database: Path, revision: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [revision])


def test_a_migrated_service_is_ready(client: TestClient) -> None:
    for path in ("/healthz", "/readyz"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(("place", "reason"), [("empty.db", "no schema"), ("nowhere/notes.db", "unable to open")])
def test_without_a_schema_or_database_it_is_alive_but_not_ready(
    connect: Connect, tmp_path: Path, place: str, reason: str
) -> None:
    client = connect(tmp_path / place)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["status"] == "unavailable"
    assert reason in answer.json()["reason"]
    assert client.get("/healthz").status_code == 200


def test_readiness_comes_with_the_migration(connect: Connect, tmp_path: Path) -> None:
    client = connect(tmp_path / "notes.db")
    assert client.get("/readyz").status_code == 503
    alembic(f"sqlite+aiosqlite:///{tmp_path}/notes.db", "upgrade", "head")
    assert client.get("/readyz").status_code == 200


def test_an_older_schema_is_not_enough(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notes.database.Database._head", "0002")
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "the schema is at 0001, not 0002" in answer.json()["reason"]


def test_a_newer_schema_serves_the_older_release_too(client: TestClient, database: Path) -> None:
    set_revision(database, "from_the_future")
    assert client.get("/readyz").status_code == 200


def test_models_and_migrations_agree(database: Path) -> None:
    assert "No new upgrade operations" in alembic(f"sqlite+aiosqlite:///{database}", "check")


def test_whoami(connect: Connect, database: Path) -> None:
    answer = connect(database, app="notes", release="r1").get("/whoami", headers={"Host": "notes.example"})
    assert answer.json() == {
        "client": "testclient",
        "scheme": "http",
        "host": "notes.example",
        "app": "notes",
        "release": "r1",
        "pid": os.getpid(),
    }
    unset = connect(database).get("/whoami").json()
    assert (unset["app"], unset["release"]) == (None, None)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTES_UPLOAD_LIMIT", "12")
    monkeypatch.setenv("PADDOCK_RELEASE", "r2")
    assert (Settings().upload_limit, Settings().release) == (12, "r2")
    monkeypatch.setenv("NOTES_UPLOAD_LIMIT", "many")
    with pytest.raises(ValidationError, match="upload_limit"):
        Settings()
