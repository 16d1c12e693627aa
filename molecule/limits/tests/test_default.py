"""Limits as they apply, not as files ask for them."""

import pytest
from testinfra.host import Host

SOMAXCONN = {"debian12": "4096", "debian13": "8192"}
DEFAULT_NOFILE = 65536


@pytest.fixture
def nofile(name: str, allowed_nofile: int) -> int:
    return 12345 if name == "debian13" else min(DEFAULT_NOFILE, allowed_nofile)


@pytest.mark.parametrize("user", ["root", "person"])
@pytest.mark.parametrize("kind", ["S", "H"])
def test_a_login_shell_may_open_many_files(host: Host, nofile: int, user: str, kind: str) -> None:
    if user == "person":
        host.check_output("id person >/dev/null 2>&1 || useradd --create-home --shell /bin/sh person")
    assert int(host.check_output("su - %s -c 'ulimit -%sn'", user, kind)) == nofile


def test_the_kernel_has_what_was_asked_for(host: Host, name: str) -> None:
    assert host.check_output("cat /proc/sys/net/core/somaxconn") == SOMAXCONN[name]


def test_the_next_boot_raises_it_again(host: Host, name: str) -> None:
    host.check_output("sysctl --write net.core.somaxconn=1024")
    host.check_output("/usr/lib/systemd/systemd-sysctl /etc/sysctl.d/60-paddock.conf")
    assert host.check_output("cat /proc/sys/net/core/somaxconn") == SOMAXCONN[name]


def test_a_listen_queue_can_be_that_long(host: Host, name: str) -> None:
    script = (
        "import socket, subprocess; s = socket.create_server(('127.0.0.1', 0), backlog=1000000); "
        "print(subprocess.check_output(['ss', '-Hltn', f'sport = {s.getsockname()[1]}'], text=True).split()[2])"
    )
    assert host.check_output("python3 -c %s", script) == SOMAXCONN[name]
