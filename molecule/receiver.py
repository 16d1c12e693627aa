"""Somebody on the control node who is told of rollouts."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = cast("Receiver", self.server)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.got.append((self.path, self.headers.get("Authorization"), body))
        self.send_response(server.code)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


class Receiver(ThreadingHTTPServer):
    """What came, and what it answers."""

    code = 204

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[tuple[str, str | None, Any]] = []

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def taken(self) -> list[tuple[str, str | None, Any]]:
        """Return what has come since this was asked last."""
        found, self.got = self.got, []
        return found


@contextmanager
def receiving() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
