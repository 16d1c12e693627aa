"""Stand in for an app behind NGINX: answer every request with what arrived of it, over the Unix socket of that path."""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer


class Echo(BaseHTTPRequestHandler):
    """Answer with the request."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with the request."""
        size = len(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        headers = {name.lower(): value for name, value in self.headers.items()}
        text = json.dumps({"method": self.command, "path": self.path, "size": size, "headers": headers}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Paddock-Release", "20260101T000000Z-000000000000")
        if self.path == "/drip":
            # The first line at once, the rest when the client has long given up.
            self.end_headers()
            self.wfile.write(b"first\n")
            self.wfile.flush()
            time.sleep(30)
            self.close_connection = True
            return
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_POST(self) -> None:
        """Answer with a request that has a body."""
        self.do_GET()

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing: there is no client's address to name."""


class Server(ThreadingMixIn, UnixStreamServer):
    """One thread for each connection."""

    daemon_threads = True
    request_queue_size = 128


path = Path(sys.argv[1])
path.unlink(missing_ok=True)
server = Server(str(path), Echo)
path.chmod(0o666)
server.serve_forever()
