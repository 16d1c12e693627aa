"""A migrated database, a client within the test's process, and a real server with several workers."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest
from fastapi.testclient import TestClient

from notes.main import create_app
from notes.settings import Settings

PROJECT = Path(__file__).parent.parent
RELEASE = "20260101T000000Z-0123abcd"


def alembic(database_url: str, *arguments: str) -> str:
    """Run Alembic as a deployment does, and return what it prints."""
    return subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=PROJECT,
        env=os.environ | {"NOTES_DATABASE_URL": database_url},
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    ).stdout


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "notes.db"
    alembic(f"sqlite+aiosqlite:///{path}", "upgrade", "head")
    return path


@pytest.fixture
def database(migrated: Path, tmp_path: Path) -> Path:
    """Give the test a migrated database of its own."""
    path = tmp_path / "notes.db"
    path.write_bytes(migrated.read_bytes())
    return path


@pytest.fixture
def connect() -> Iterator[Callable[..., TestClient]]:
    """Return a function that starts the application within this process."""
    clients: list[TestClient] = []

    def start(database: Path, **settings: int | str) -> TestClient:
        app = create_app(Settings.model_validate({"database_url": f"sqlite+aiosqlite:///{database}", **settings}))
        clients.append(TestClient(app))
        return clients[-1].__enter__()

    yield start
    for client in clients:
        client.__exit__()


@pytest.fixture
def client(connect: Callable[..., TestClient], database: Path) -> TestClient:
    return connect(database)


class Server(NamedTuple):
    """A running server: how to reach it."""

    socket: Path
    http: httpx2.Client


@pytest.fixture(scope="session")
def server(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run Uvicorn with two workers on a socket it is handed, as systemd does; it must also stop cleanly."""
    folder = tmp_path_factory.mktemp("server")
    path, log = folder / "socket", folder / "log"
    (folder / "notes.db").write_bytes(migrated.read_bytes())
    with socket.socket(socket.AF_UNIX) as listener, log.open("w") as output:
        listener.bind(str(path))
        listener.listen()  # requests wait in the queue until the server is up
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "notes.main:app", "--workers=2", f"--fd={listener.fileno()}"],
            cwd=PROJECT,
            env=os.environ
            | {"NOTES_DATABASE_URL": f"sqlite+aiosqlite:///{folder}/notes.db", "PADDOCK_RELEASE": RELEASE},
            pass_fds=[listener.fileno()],
            stdout=output,
            stderr=output,
        )
    try:
        transport = httpx2.HTTPTransport(uds=str(path))
        with httpx2.Client(transport=transport, base_url="http://notes.test", timeout=20) as http:
            yield Server(path, http)
        process.terminate()
        process.wait(10)
    finally:
        process.kill()
        process.wait()
    written = log.read_text()
    assert process.returncode == 0, written
    assert "Traceback" not in written, written
