"""The throw-away hosts that benchmarks run on, and the playbooks that are run on them as a user runs them."""

import asyncio
import datetime
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
from typing import Any

CLONE = Path(__file__).parent.parent
APP = "notes"
KILL = "systemctl kill --signal=KILL --kill-who=main {unit}"


class HostError(Exception):
    """The host is not what it should be; nothing was measured."""


@dataclass(frozen=True)
class Ran:
    """What a command came to."""

    code: int
    output: str
    start: float
    end: float


def say(text: str) -> None:
    """Tell what happens now."""
    print(f"bench  {datetime.datetime.now():%H:%M:%S}  {text}", flush=True)  # noqa: DTZ005, T201


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


async def must(*command: str | Path) -> None:
    """Run a command that has to succeed."""
    done = await run(*command)
    if done.code:
        raise HostError(done.output.strip())


def free_port() -> int:
    """Return a port of loopback that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def through_tcp(configuration: str, ports: dict[str, int]) -> str:
    """Change an SSH configuration of tests/hosts/ssh_config to reach hosts at ports of loopback, as one reaches others.

    Not every client copes with a connection that a command makes for it.
    """
    for name, port in ports.items():
        reached = f"Host {name}\n  HostName 127.0.0.1\n  Port {port}\n"
        pattern = rf"(?m)^Host {re.escape(name)}\n  HostName .*\n  ProxyCommand .*\n"
        configuration, count = re.subn(pattern, reached, configuration)
        if count != 1:
            raise HostError(f"tests/hosts/ssh_config says something new about {name}: adapt bench/host.py")
    return configuration


@dataclass(frozen=True)
class Host:
    """A test host of this clone."""

    name: str
    distro: str
    folder: Path
    port: int = field(default_factory=free_port)
    ssh_port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        """Where the app answers."""
        return f"https://localhost:{self.port}"

    @property
    def certificate(self) -> Path:
        """The certificate that the host made, to be trusted and no other."""
        return self.folder / f"{self.name}.pem"

    async def up(self) -> None:
        """Start it."""
        published = ("--publish", f"127.0.0.1:{self.port}:8443", "--publish", f"127.0.0.1:{self.ssh_port}:22")
        await must("tests/hosts/down", self.name)
        await must("tests/hosts/up", self.name, self.distro, *published)

    async def ask(self, command: str, within: float = 60) -> str:
        """Run a command on the host."""
        done = await run("ssh", "-F", self.folder / "ssh", self.name, command, within=within)
        if done.code:
            raise HostError(f"on {self.name}, {command}: {done.output.strip()}")
        return done.output

    async def fetch_certificate(self, path: str) -> None:
        """Learn what to trust."""
        self.certificate.write_text(await self.ask(f"cat {path}"), encoding="ascii")


@dataclass
class Fleet:
    """Test hosts that the same app is deployed to; often only one. How, subclasses know."""

    distro: str
    count: int = 1
    name: str = "bench"
    # Not in the clone, where git ignores what is not the clone's, and a deploy what git ignores.
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="paddock-bench-")))
    hosts: list[Host] = field(init=False)

    def __post_init__(self) -> None:
        """Name the hosts, so that clones of this project do not meet."""
        clone = hashlib.sha1(str(CLONE).encode(), usedforsecurity=False).hexdigest()[:4]
        numbers = [f"-{number}" for number in range(1, self.count + 1)] if self.count > 1 else [""]
        self.hosts = [Host(f"{self.name}-{clone}{number}", self.distro, self.folder) for number in numbers]

    @property
    def first(self) -> Host:
        """The host that is looked at where one is enough."""
        return self.hosts[0]

    @property
    def source(self) -> Path:
        """The copy of the sample app that is deployed."""
        return self.folder / "app"

    @property
    def inventory(self) -> Path:
        """The inventory of the playbooks."""
        return self.folder / "inventory.json"

    async def up(self) -> None:
        """Start the hosts, and write the inventory."""
        for host in self.hosts:
            await host.up()
        ssh = self.folder / "ssh"
        await must("tests/hosts/ssh_config", "--output", ssh, *(host.name for host in self.hosts))
        for host in self.hosts:
            await host.ask("systemctl start ssh.service")
        ports = {host.name: host.ssh_port for host in self.hosts}
        ssh.write_text(through_tcp(ssh.read_text(encoding="utf-8"), ports), encoding="utf-8")
        reached = {"ansible_ssh_args": f'-F "{ssh}"', "ansible_user": "root"}
        group = {"hosts": {host.name: reached for host in self.hosts}, "vars": self.variables()}
        self.inventory.write_text(json.dumps({"fastapi": group}, indent=2) + "\n", encoding="utf-8")

    async def down(self) -> None:
        """Remove them, and what was written for them."""
        shutil.rmtree(self.folder, ignore_errors=True)
        await must("tests/hosts/down", *(host.name for host in self.hosts))

    def variables(self) -> dict[str, Any]:
        """Return the variables of the inventory."""
        return {}

    async def playbook(self, playbook: str | Path, *arguments: str, nice: int = 0) -> Ran:
        """Run a playbook."""
        return await run(
            "nice",
            f"-n{nice}",
            CLONE / ".venv/bin/ansible-playbook",
            playbook,
            "-i",
            self.inventory,
            *arguments,
            ANSIBLE_COLLECTIONS_PATH=str(CLONE / ".collections"),
            ANSIBLE_CONFIG=str(CLONE / "ansible.cfg"),
            ANSIBLE_NOCOLOR="1",
        )


@dataclass
class Paddock(Fleet):
    """Hosts that are deployed to with this collection."""

    standby: int = 60
    app: str = APP
    nice: int = 0  # of the control node, which shares the processors with the hosts only here
    settings: dict[str, Any] = field(default_factory=dict)  # further ones of the app

    def variables(self) -> dict[str, Any]:
        """Return the app, and the ports."""
        app = {
            "name": self.app,
            "source": str(self.source),
            "module": "notes.main:app",
            "domains": ["localhost"],
            "env": {"NOTES_DATABASE_URL": f"sqlite+aiosqlite:////srv/{self.app}/shared/notes.db"},
            "migrate": "alembic upgrade head",
            # A release that never becomes healthy is part of the schedule, and need not take a minute.
            "health": {"path": "/readyz", "timeout": 15},
            "standby": self.standby,
            **self.settings,
        }
        return {"fastapi_http_port": 8080, "fastapi_https_port": 8443, "fastapi_apps": [app]}

    async def play(self, playbook: str, *arguments: str) -> Ran:
        """Run a playbook of the collection."""
        return await self.playbook(f"paddock.fastapi.{playbook}", *arguments, nice=self.nice)

    async def fetch_certificate(self) -> None:
        """Learn what to trust of the first host."""
        await self.first.fetch_certificate(f"/etc/ssl/paddock/{self.app}.crt")

    async def live(self) -> str:
        """Return the id of the live release."""
        return Path((await self.first.ask(f"readlink /srv/{self.app}/current")).strip()).name

    async def instances(self) -> set[str]:
        """Return the releases whose instances run."""
        listed = await self.first.ask(f"systemctl list-units --plain --no-legend --state=active '{self.app}@*.service'")
        return set(re.findall(rf"{self.app}@(\S+)\.service", listed))

    async def versions(self) -> dict[str, str]:
        """Return what the figures hold for."""
        asked = await self.first.ask(
            ". /etc/os-release; echo $PRETTY_NAME; systemctl --version | head -n 1; nginx -v 2>&1;"
            f"/srv/{self.app}/current/venv/bin/python --version; nproc;"
            f"/srv/{self.app}/current/venv/bin/python -c 'import gunicorn, uvicorn;"
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
        return await self.first.ask(
            "echo '== NGINX, errors'; tail -n 200 /var/log/nginx/error.log;"
            """echo '== NGINX, 4xx and 5xx'; grep -E '"status":[45]' /var/log/nginx/access.log | tail -n 200;"""
            f"echo '== app'; journalctl --no-pager -o short-iso-precise --since {start} -u '{self.app}@*' | tail -n 500"
        )
