"""The throw-away host that the benchmark runs on, and the playbooks that are run on it as a user runs them."""

import asyncio
import hashlib
import json
import os
import re
import shlex
import shutil
import socket
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

CLONE = Path(__file__).parent.parent
APP = "notes"


class HostError(Exception):
    """The host is not what it should be; nothing was measured."""


@dataclass(frozen=True)
class Ran:
    """What a command came to."""

    code: int
    output: str
    start: float
    end: float


async def run(*command: str | Path, within: float = 300, **environment: str) -> Ran:
    """Run a command to its end."""
    start = time.time()
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=CLONE,
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(within):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Ran(process.returncode or 0, output.decode(errors="replace"), start, time.time())


def free_port() -> int:
    """Return a port of loopback that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Host:
    """A test host of this clone."""

    distro: str
    standby: int
    nice: int = 0  # of the control node, which shares the processors with the host only here
    name: str = field(default="bench-" + hashlib.sha1(str(CLONE).encode(), usedforsecurity=False).hexdigest()[:4])
    # Not in the clone, where git ignores what is not the clone's, and a deploy what git ignores.
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="paddock-bench-")))
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        """Where the app answers."""
        return f"https://localhost:{self.port}"

    @property
    def source(self) -> Path:
        """The copy of the sample app that is deployed."""
        return self.folder / "app"

    @property
    def certificate(self) -> Path:
        """The certificate that the host made, to be trusted and no other."""
        return self.folder / "certificate.pem"

    async def up(self) -> None:
        """Start it, and write the inventory."""
        await self._must("tests/hosts/down", self.name)
        await self._must("tests/hosts/up", self.name, self.distro, "--publish", f"127.0.0.1:{self.port}:8443")
        await self._must("tests/hosts/ssh_config", "--output", self.folder / "ssh", self.name)
        app = {
            "name": APP,
            "source": str(self.source),
            "module": "notes.main:app",
            "domains": ["localhost"],
            "env": {"NOTES_DATABASE_URL": f"sqlite+aiosqlite:////srv/{APP}/shared/notes.db"},
            "migrate": "alembic upgrade head",
            # A release that never becomes healthy is part of the schedule, and need not take a minute.
            "health": {"path": "/readyz", "timeout": 15},
            "standby": self.standby,
        }
        inventory = {
            "fastapi": {
                "hosts": {self.name: {"ansible_ssh_args": f'-F "{self.folder / "ssh"}"', "ansible_user": "root"}},
                "vars": {"fastapi_http_port": 8080, "fastapi_https_port": 8443, "fastapi_apps": [app]},
            }
        }
        (self.folder / "inventory.json").write_text(json.dumps(inventory, indent=2) + "\n", encoding="utf-8")

    async def down(self) -> None:
        """Remove it, and what was written for it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        await self._must("tests/hosts/down", self.name)

    async def play(self, playbook: str, *arguments: str) -> Ran:
        """Run a playbook of the collection."""
        program = CLONE / ".venv/bin/ansible-playbook"
        inventory = self.folder / "inventory.json"
        return await run(
            "nice",
            f"-n{self.nice}",
            program,
            f"paddock.fastapi.{playbook}",
            "-i",
            inventory,
            *arguments,
            ANSIBLE_COLLECTIONS_PATH=str(CLONE / ".collections"),
            ANSIBLE_CONFIG=str(CLONE / "ansible.cfg"),
            ANSIBLE_NOCOLOR="1",
        )

    async def ask(self, command: str) -> str:
        """Run a command on the host."""
        done = await run("ssh", "-F", self.folder / "ssh", self.name, command, within=60)
        if done.code:
            raise HostError(f"on {self.name}, {command}: {done.output.strip()}")
        return done.output

    async def fetch_certificate(self) -> None:
        """Learn what to trust."""
        self.certificate.write_text(await self.ask(f"cat /etc/ssl/paddock/{APP}.crt"), encoding="ascii")

    async def live(self) -> str:
        """Return the id of the live release."""
        return Path((await self.ask(f"readlink /srv/{APP}/current")).strip()).name

    async def instances(self) -> set[str]:
        """Return the releases whose instances run."""
        listed = await self.ask(f"systemctl list-units --plain --no-legend --state=active '{APP}@*.service'")
        return set(re.findall(rf"{APP}@(\S+)\.service", listed))

    async def versions(self) -> dict[str, str]:
        """Return what the figures hold for."""
        asked = await self.ask(
            ". /etc/os-release; echo $PRETTY_NAME; systemctl --version | head -n 1; nginx -v 2>&1;"
            f"/srv/{APP}/current/venv/bin/python --version; nproc;"
            f"/srv/{APP}/current/venv/bin/python -c 'import gunicorn, uvicorn;"
            " print(gunicorn.__version__, uvicorn.__version__)' || echo ?"
        )
        system, systemd, nginx, python, cores, server = asked.splitlines()[:6]
        ansible = (await run(CLONE / ".venv/bin/ansible-playbook", "--version")).output.splitlines()[0]
        return {
            "system": system,
            "systemd": systemd.split(" (")[0],
            "nginx": nginx.removeprefix("nginx version: "),
            "python": python,
            "gunicorn and uvicorn": server,
            "cores, shared by all": cores,
            "ansible": ansible,
        }

    async def evidence(self, since: float) -> str:
        """Return what the host has to say about failures: NGINX's errors, answers of 5xx, the app's journal."""
        start = shlex.quote(f"@{since:.0f}")
        return await self.ask(
            "echo '== NGINX, errors'; tail -n 200 /var/log/nginx/error.log;"
            """echo '== NGINX, 4xx and 5xx'; grep -E '"status":[45]' /var/log/nginx/access.log | tail -n 200;"""
            f"echo '== app'; journalctl --no-pager -o short-iso-precise --since {start} -u '{APP}@*' | tail -n 500"
        )

    @staticmethod
    async def _must(*command: str | Path) -> None:
        done = await run(*command)
        if done.code:
            raise HostError(done.output.strip())
