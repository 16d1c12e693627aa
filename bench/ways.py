"""The ways to deploy that are compared: ours, and what people would otherwise pick."""

import json
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from host import APP, CLONE, Fleet, Paddock, Ran, run
from schedule import write_app

HERE = Path(__file__).parent
SERVER_REQUIREMENTS = CLONE / "roles/app/files/server-requirements.txt"
# So that the old instance is soon gone, but not before a rollback that follows at once.
STANDBY = 10
WORKERS = 2  # as the peers' unit has it


@dataclass
class Way(ABC):
    """A way to deploy to a fleet, run as its users run it."""

    fleet: Fleet
    everywhere: bool = False  # on all hosts, instead of the first

    name: ClassVar[str]
    certificate: ClassVar[str] = "/etc/ssl/certs/notes.crt"

    @property
    def limit(self) -> list[str]:
        """Arguments that leave the other hosts alone."""
        return [] if self.everywhere else ["--limit", self.fleet.first.name]

    def write(self, marker: str, breaks: str = "") -> None:
        """Write the app that is to be deployed. It pins the server packages, so that all install the same."""
        write_app(self.fleet.source, marker, breaks)
        path = self.fleet.source / "requirements.txt"
        path.write_text(
            merged(path.read_text(encoding="utf-8"), SERVER_REQUIREMENTS.read_text(encoding="utf-8")), encoding="utf-8"
        )

    async def prepare(self, marker: str) -> Ran:
        """Bring a bare host to where it serves."""
        return await self.deploy(marker)

    @abstractmethod
    async def deploy(self, marker: str) -> Ran:
        """Deploy what was written."""

    async def unit(self) -> str:
        """Return the unit of what serves on the first host."""
        return f"{APP}.service"


class PaddockWay(Way):
    """The collection's playbooks."""

    name = "paddock"
    certificate = f"/etc/ssl/paddock/{APP}.crt"
    fleet: Paddock

    async def prepare(self, marker: str) -> Ran:
        """Bring a bare host to where it serves."""
        del marker
        return await self.fleet.play("site", *self.limit)

    async def deploy(self, marker: str) -> Ran:
        """Deploy what was written."""
        del marker
        return await self.fleet.play("deploy", *self.limit)

    async def roll_back(self) -> Ran:
        """Go back to the release before."""
        return await self.fleet.play("rollback", *self.limit)

    async def unit(self) -> str:
        """Return the unit of what serves on the first host."""
        return f"{APP}@{await self.fleet.live()}.service"


class Tutorial(Way):
    """The hand-written playbook, with a restart."""

    name = "tutorial"
    reload: ClassVar[bool] = False

    async def deploy(self, marker: str) -> Ran:
        """Run the playbook, which does everything each time."""
        variables = {"app_source": str(self.fleet.source), "app_reload": self.reload, "app_release": marker}
        return await self.fleet.playbook(HERE / "peers/tutorial.yml", *self.limit, "-e", json.dumps(variables))


class Hup(Tutorial):
    """The hand-written playbook, with a link and Gunicorn's reload."""

    name = "hup"
    reload = True


class Pyinfra(Way):
    """The tutorial in pyinfra."""

    name = "pyinfra"

    async def deploy(self, marker: str) -> Ran:
        """Run the deploy, which does everything each time."""
        del marker
        data = {
            "ssh_config_file": str(self.fleet.folder / "ssh"),
            "ssh_known_hosts_file": "/dev/null",
            "ssh_strict_host_key_checking": "no",
            "app_source": str(self.fleet.source),
        }
        inventory = self.fleet.folder / "inventory.py"
        inventory.write_text(f"hosts = {[(host.name, data) for host in self.fleet.hosts]!r}\n", encoding="utf-8")
        program = CLONE / ".cache/bench/bin/pyinfra"
        return await run(program, "--yes", *self.limit, inventory, HERE / "peers/pyinfra_tutorial.py")


WAYS: dict[str, type[Way]] = {way.name: way for way in (PaddockWay, Tutorial, Hup, Pyinfra)}


def way_of(name: str, distro: str, hosts: int) -> Way:
    """Return a way, with a fleet of its own that is not up yet."""
    fleet: dict[str, Any] = {"distro": distro, "count": hosts, "name": f"bench-{name}"}
    if name != PaddockWay.name:
        return WAYS[name](Fleet(**fleet))
    # Each host has a database of its own. What cold rollbacks go back to has to be kept.
    settings = {"workers": WORKERS, "migrate_on": "all", "keep_releases": 12}
    return PaddockWay(Paddock(**fleet, standby=STANDBY, settings=settings))


def merged(requirements: str, more: str) -> str:
    """Add to hashed requirements those of another file that are not among them."""

    def packages(text: str) -> dict[str, str]:
        blocks = re.split(r"(?m)^(?=[A-Za-z0-9])", text)
        return {found[0].lower(): block for block in blocks if (found := re.match(r"[\w.-]+(?===)", block))}

    have = packages(requirements)
    return requirements + "".join(block for name, block in packages(more).items() if name not in have)
