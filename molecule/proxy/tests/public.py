"""Asks the apps of the scenario as their public does: with curl, on the host, from an address that is not loopback."""

import json
import shlex
from dataclasses import dataclass
from typing import Any

from testinfra.host import Host


@dataclass(frozen=True)
class Answer:
    """What came back. headers: all values by name, which is in lower case. version: of HTTP, such as "2"."""

    status: int
    version: str
    headers: dict[str, list[str]]
    body: bytes

    @property
    def text(self) -> str:
        """Return the body as text."""
        return self.body.decode()

    @property
    def seen(self) -> dict[str, Any]:
        """Return what the app `mirror` saw of the request; its headers by name in lower case, which none has twice."""
        assert self.status == 200, self
        found: dict[str, Any] = json.loads(self.body)
        headers = {name.lower(): value for name, value in found["headers"]}
        assert len(headers) == len(found["headers"]), found
        return {**found, "headers": headers}

    def header(self, name: str) -> str | None:
        """Return the value of a header, or None if it is not there. More than one is an error."""
        values = self.headers.get(name, [])
        assert len(values) <= 1, self.headers
        return values[0] if values else None


@dataclass(frozen=True)
class Public:
    """The public of one host. address: what it asks, and so where it comes from."""

    host: Host
    address: str

    @classmethod
    def of(cls, host: Host) -> "Public":
        """Return the public of a host."""
        return cls(host, host.check_output("hostname -I").split()[0])

    def loopback(self) -> "Public":
        """Return who asks from the host itself."""
        return Public(self.host, "127.0.0.1")

    def command(self, url: str, *options: str) -> str:
        """Return the command that asks, to be made part of another one. url: with or without https://."""
        url = url if "://" in url else f"https://{url}"
        app = "under" if "under.test" in url else "mirror"
        words = ["curl", "--silent", "--show-error", "--max-time", "20", "--path-as-is"]
        words += ["--cacert", f"/etc/ssl/paddock/{app}.crt", "--connect-to", f"::{self.address}:", *options, url]
        return shlex.join(words)

    def ask(self, url: str, *options: str) -> Answer:
        """Ask, and return the answer. The options are curl's."""
        told = '%{stderr}{"status": %{http_code}, "version": "%{http_version}", "headers": %{header_json}}'
        done = self.host.run(self.command(url, "--write-out", told, *options))
        assert done.rc == 0, done
        return Answer(**json.loads(done.stderr), body=done.stdout_bytes)
