"""What the scenarios' tests share."""

from collections.abc import Callable

import pytest
import testinfra
from fleet import INVENTORY, Fleet
from testinfra.host import Host


@pytest.fixture
def properties(host: Host) -> Callable[[str], dict[str, str]]:
    """Return what systemd says about a unit: what applies, which may differ from what its file asks for."""

    def show(unit: str) -> dict[str, str]:
        lines = host.check_output("systemctl show %s", unit).splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    return show


@pytest.fixture(scope="session")
def fleet() -> Fleet:
    """Return the hosts of the scenario."""
    hosts = testinfra.get_hosts(["ansible://molecule"], ansible_inventory=str(INVENTORY))
    return Fleet({host.backend.get_pytest_id().removeprefix("ansible://"): host for host in hosts})
