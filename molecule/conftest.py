"""What the scenarios' tests share."""

from collections.abc import Callable

import pytest
from testinfra.host import Host


@pytest.fixture
def properties(host: Host) -> Callable[[str], dict[str, str]]:
    """Return what systemd says about a unit: what applies, which may differ from what its file asks for."""

    def show(unit: str) -> dict[str, str]:
        lines = host.check_output("systemctl show %s", unit).splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    return show
