"""What the tests of the scenario share."""

import pytest
from public import Public
from testinfra.host import Host


@pytest.fixture(scope="module")
def public(host: Host) -> Public:
    """Return who asks from the host's own public address."""
    return Public.of(host)
