"""The guard of an instance, on a real socket: it ends when the server takes connections, and answers until then."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import socket
import subprocess
import sys
import threading
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

GUARD = Path(__file__).parents[2] / "roles/service/files/guard.py"
RELEASE = "20261122T154042Z-0a1b2c3d4e5f"
# It runs as its unit has it, but waits less long. The listener becomes descriptor 3, as systemd passes it.
LAUNCH = f"""
import os, runpy, sys
os.dup2(int(sys.argv.pop(1)), 3)
source = open({str(GUARD)!r}).read().replace("GRACE = 6.0", "GRACE = 0.3").replace("ROUND = 0.5", "ROUND = 0.1")
exec(compile(source, {str(GUARD)!r}, "exec"), {{"__name__": "__main__"}})
"""


class Server:
    """A listening socket with a guard, which takes connections only when it is told to."""

    def __init__(self, folder: Path, live: str) -> None:
        self.path = str(folder / "app.sock")
        current = folder / "current"
        current.symlink_to(f"releases/{live}")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(64)
        command = [sys.executable, "-I", "-S", "-c", LAUNCH, str(self.listener.fileno()), str(current), RELEASE]
        self.guard = subprocess.Popen(
            command, pass_fds=[self.listener.fileno()], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def serve(self) -> None:
        """Take connections, as a server that has come up, and answer all with 200."""
        # A guard has made the socket non-blocking; so does a server, for itself.
        self.listener.settimeout(None)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except BlockingIOError:
                continue
            except OSError:
                return
            with connection, contextlib.suppress(BrokenPipeError):  # a client that has given up
                if connection.recv(65536):
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def ask(self, body: bytes | None = None, timeout: float = 5.0) -> http.client.HTTPResponse:
        """Make one request."""
        connection = http.client.HTTPConnection("app", timeout=timeout)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(timeout)
        connection.sock.connect(self.path)
        connection.request("POST" if body else "GET", "/", body)
        return connection.getresponse()

    def ended(self) -> str:
        """Wait for the guard to end well, and return what it logged."""
        output, _ = self.guard.communicate(timeout=10)
        assert self.guard.returncode == 0, output
        return str(output)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[t.Callable[..., Server]]:
    servers: list[Server] = []

    def start(live: str = RELEASE) -> Server:
        servers.append(Server(tmp_path, live))
        return servers[-1]

    yield start
    for server in servers:
        server.listener.close()
        server.guard.kill()
        server.guard.wait()


def test_it_has_one_place_for_each_time() -> None:
    # What LAUNCH replaces must be there, and together well below the 10 seconds that are promised.
    spec = importlib.util.spec_from_file_location("guard", GUARD)
    assert spec
    assert spec.loader
    guard = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(guard)
    assert (guard.GRACE, guard.ROUND) == (6.0, 0.5)


def test_a_server_that_serves_needs_no_guard(start: t.Callable[..., Server]) -> None:
    server = start()
    server.serve()
    assert server.ended() == ""
    assert server.ask().status == 200


def test_clients_of_a_server_that_does_not_come_up(start: t.Callable[..., Server]) -> None:
    server = start()
    answers = [server.ask(), server.ask(b"x" * 1_000_000)]
    assert [(answer.status, answer.headers["Retry-After"]) for answer in answers] == [(503, "5"), (503, "5")]
    assert b"not available at the moment" in answers[0].read()
    server.serve()
    assert "The server has come up" in server.ended()
    assert server.ask().status == 200


def test_only_the_live_instance_has_clients(start: t.Callable[..., Server]) -> None:
    server = start(live="20261122T154043Z-0a1b2c3d4e5f")
    with pytest.raises(TimeoutError):
        server.ask(timeout=1.5)
    server.serve()
    assert server.ended() == ""
