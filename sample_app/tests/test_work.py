"""Waiting, computing, receiving, and the page."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from hashlib import sha256
from pathlib import Path

import pytest
from conftest import PROJECT
from fastapi.testclient import TestClient

from notes.cpu import Cpu, primes_up_to

# A server that is killed while its helper process is there.
KILLED_SERVER = """
import asyncio, os, signal
from notes.cpu import Cpu, primes_up_to
print(asyncio.run(Cpu().run(primes_up_to, 100)), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("limit", "expected"), [(1, (0, None)), (2, (1, 2)), (4, (2, 3)), (25, (9, 23)), (100_000, (9592, 99_991))]
)
def test_primes_are_right(limit: int, expected: tuple[int, int | None]) -> None:
    assert primes_up_to(limit) == expected


def test_primes_are_served(client: TestClient) -> None:
    assert client.get("/primes", params={"limit": 1000}).json() == {"limit": 1000, "count": 168, "largest": 997}
    assert client.get("/primes", params={"limit": 5_000_001}).status_code == 422


def test_a_helper_that_died_is_replaced() -> None:
    async def check() -> None:
        cpu = Cpu()
        with pytest.raises(BrokenProcessPool):
            await cpu.run(os._exit, 1)
        assert await cpu.run(primes_up_to, 10) == (4, 7)
        await cpu.close()

    asyncio.run(check())


def test_the_helper_ends_with_a_server_that_is_killed() -> None:
    # The helper holds the other end of the pipes: this returns only when it is gone as well.
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_SERVER], cwd=PROJECT, capture_output=True, text=True, timeout=10, check=False
    )
    assert killed.stdout == "(25, 97)\n"


def test_slow_answers_are_bounded(client: TestClient) -> None:
    assert client.get("/slow", params={"seconds": 0.01}).json() == {"seconds": 0.01}
    for seconds in ("61", "-1", "nan", "inf"):
        assert client.get("/slow", params={"seconds": seconds}).status_code == 422


def test_uploads_are_measured(client: TestClient) -> None:
    data = os.urandom(300_000)
    expected = {"size": len(data), "sha256": sha256(data).hexdigest()}
    assert client.post("/upload", content=data).json() == expected
    assert client.post("/upload").json()["size"] == 0


def test_uploads_are_limited(connect: Callable[..., TestClient], database: Path) -> None:
    def without_length() -> Iterator[bytes]:
        yield from [b"12345", b"678901"]

    client = connect(database, upload_limit=10)
    assert client.post("/upload", content=b"0123456789").status_code == 200
    for content in (b"01234567890", without_length()):
        answer = client.post("/upload", content=content)
        assert (answer.status_code, answer.json()) == (413, {"detail": "An upload may have 10 bytes."})


def test_the_page_loads_only_from_here(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http" not in page.text
    for asset in ("app.js", "style.css", "icon.svg"):
        assert f"static/{asset}" in page.text
        answer = client.get(f"/static/{asset}")
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")
        assert client.get(f"/static/{asset}", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    assert "innerHTML" not in client.get("/static/app.js").text
