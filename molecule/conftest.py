"""What the scenarios' tests share."""

from collections.abc import Callable
from pathlib import Path

import pytest
import testinfra
from fleet import Fleet
from testinfra.host import Host


@pytest.fixture
def properties(host: Host) -> Callable[[str], dict[str, str]]:
    """Return what systemd says about a unit: what applies, which may differ from what its file asks for."""

    def show(unit: str) -> dict[str, str]:
        lines = host.check_output("systemctl show %s", unit).splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    return show


@pytest.fixture
def name(host: Host) -> str:
    """Return the host's name in the inventory."""
    return str(host.backend.get_hostname())


@pytest.fixture
def allowed_nofile(host: Host) -> int:
    """Return the most open files that this host allows a service: systemd silently gives no more."""
    return int(host.check_output("systemd-run --quiet --wait --pipe -p LimitNOFILE=infinity sh -c 'ulimit -Hn'"))


@pytest.fixture
def nofile_of(host: Host) -> Callable[[int], tuple[int, int]]:
    """Return a process's limits of open files, soft and hard, as the kernel has them."""

    def read(pid: int) -> tuple[int, int]:
        line = host.check_output("grep '^Max open files' /proc/%s/limits", str(pid)).split()
        return int(line[3]), int(line[4])

    return read


@pytest.fixture
def children(host: Host) -> Callable[[str], list[int]]:
    """Return the processes of a service, its main one left out."""

    def of(unit: str) -> list[int]:
        main = host.check_output("systemctl show --value --property MainPID %s", unit)
        return [int(pid) for pid in host.check_output("pgrep --parent %s", main).split()]

    return of


@pytest.fixture(scope="session")
def fleet(pytestconfig: pytest.Config) -> Fleet:
    """Return the hosts of the scenario."""
    inventory = str(pytestconfig.getoption("ansible_inventory"))
    hosts = testinfra.get_hosts(["ansible://molecule"], ansible_inventory=inventory)
    return Fleet({host.backend.get_pytest_id().removeprefix("ansible://"): host for host in hosts}, Path(inventory))
