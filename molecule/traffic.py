"""Load on a host of a scenario, from outside and through its public listener, for as long as its tests run."""

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]
# Requests that wait for three seconds and events that take twenty are among the traffic, so a second says nothing.
FEWEST_PER_SECOND = 20
LONGEST = 1800


@dataclass
class Traffic:
    """Clients of all kinds, each of which compares every answer: bench/load.py."""

    process: subprocess.Popen[str]
    asked: float = field(default_factory=time.monotonic)
    failures: list[dict[str, Any]] = field(default_factory=list)
    right: Counter[str] = field(default_factory=Counter)

    def expect(self, *markers: str) -> None:
        """Say which variants of the app may answer from now on; one that did before may for five seconds more."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(" ".join(markers) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the load has ended"
        news = json.loads(line)
        self.failures += news["failures"]
        self.right.update(news["right"])

    def take(self) -> tuple[dict[str, int], list[dict[str, Any]], float]:
        """Return what was answered and what failed since the last time, and how many seconds that is ago."""
        taken = dict(self.right), self.failures, time.monotonic() - self.asked
        self.right, self.failures, self.asked = Counter(), [], time.monotonic()
        return taken

    def end(self) -> list[dict[str, Any]]:
        """Stop, wait for what is on its way, and return all that ever failed."""
        output, _ = self.process.communicate()
        return list(json.loads(output.splitlines()[-1])["failures"])


@contextmanager
def traffic(host: str, certificate: Path, marker: str, name: str = "localhost") -> Iterator[Traffic]:
    """Send traffic to a host, whose HTTPS listener is published, until the body ends.

    marker: what is right at first. name: what the app is called.
    """
    settings = PROJECT / f".cache/molecule/{os.environ['MOLECULE_SCENARIO_NAME']}.ssh"
    asked = subprocess.run(["ssh", "-G", "-F", settings, host], check=True, capture_output=True, text=True).stdout
    container = dict(line.split(" ", 1) for line in asked.splitlines() if " " in line)["hostname"]
    published = subprocess.run(["podman", "port", container, "443/tcp"], check=True, capture_output=True, text=True)
    url = f"https://{name}:{published.stdout.strip().rpartition(':')[2]}"
    command: list[str | Path] = [
        PROJECT / ".cache/bench/bin/python",
        PROJECT / "bench/load.py",
        url,
        "--certificate",
        certificate,
    ]
    # What is looked for is what gets lost; how slow a busy machine may be is not. A message that reaches a WebSocket
    # just when its instance retires can cost it the clean close (NGINX drops that when it cannot pass the message on),
    # so there are few of them.
    options = ["--follow", "--rate", "0", "--echo", "1", "--timeout", "30", "--seconds", str(LONGEST)]
    options += ["--marker", marker, "--name", name]
    process = subprocess.Popen([*command, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Traffic(process)
    finally:
        process.kill()
        process.wait()
