# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what is read from a host."""

from __future__ import annotations

import grp
import os
import platform
import pwd
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.paddock.fastapi.plugins.module_utils import _host
from ansible_collections.paddock.fastapi.plugins.module_utils._layout import App
from ansible_collections.paddock.fastapi.tests.unit.helpers import (
    AS_ROOT,
    LIVE,
    NEW,
    OLD,
    Programs,
    enable_units,
    release_folder,
)

GIB = 2**30


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return what the kernel's files say; those that are not in it are not there."""
    found: dict[str, str] = {}
    monkeypatch.setattr(_host, "_read", lambda path: found.get(path, ""))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(8)))
    return found


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("", 8),
        ("max 100000", 8),
        ("200000 100000", 2),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("9900000 100000", 8),
    ],
)
def test_cpus(files: dict[str, str], quota: str, expected: int) -> None:
    files["/sys/fs/cgroup/cpu.max"] = quota
    assert _host.cpus() == expected


@pytest.mark.parametrize(
    ("total", "limit", "expected"),
    [
        ("MemTotal:        4194304 kB\nMemFree: 1 kB", "", 4096),
        ("MemTotal:        4194304 kB", "max", 4096),
        ("MemTotal:        4194304 kB", str(GIB), 1024),
        ("MemTotal:        4194304 kB", str(8 * GIB), 4096),
        ("", "max", 0),
    ],
)
def test_memory(files: dict[str, str], total: str, limit: str, expected: int) -> None:
    files |= {"/proc/meminfo": total, "/sys/fs/cgroup/memory.max": limit}
    assert _host.memory_mb() == expected


ALL = "CapEff:\t000001ffffffffff"
NO_RESOURCE = "CapEff:\t00000000a80425fb"
LIMITS = (
    "Limit                     Soft Limit           Hard Limit           Units\nMax open files            1024 {} files"
)
PID1 = "the hard limit of PID 1, which lacks CAP_SYS_RESOURCE,"


@pytest.mark.parametrize(
    ("nr_open", "status", "hard", "expected"),
    [
        ("1048576", ALL, "4096", (1048576, "fs.nr_open")),
        ("2000000", ALL, "4096", (2000000, "fs.nr_open")),
        ("1048576", NO_RESOURCE, "4096", (4096, PID1)),
        ("1048576", NO_RESOURCE, "1048576", (1048576, "fs.nr_open")),
        ("1048576", NO_RESOURCE, "unlimited", (1048576, "fs.nr_open")),
        ("1048576", "", "4096", (1048576, "fs.nr_open")),
        ("", ALL, "4096", (1048576, "fs.nr_open")),
    ],
)
def test_ceiling_of_open_files(
    files: dict[str, str], nr_open: str, status: str, hard: str, expected: tuple[int, str]
) -> None:
    files |= {"/proc/sys/fs/nr_open": nr_open, "/proc/1/status": status, "/proc/1/limits": LIMITS.format(hard)}
    assert _host.nofile_ceiling() == expected


@pytest.mark.parametrize(
    ("release", "family"),
    [
        ({"ID": "debian"}, "Debian"),
        ({"ID": "ubuntu", "ID_LIKE": "debian"}, "Debian"),
        ({"ID": "linuxmint", "ID_LIKE": "ubuntu debian"}, "Debian"),
        ({"ID": "rhel", "ID_LIKE": "fedora"}, "RedHat"),
        ({"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, "RedHat"),
        ({"ID": "arch"}, "default"),
        ({}, "default"),
    ],
)
def test_families(release: dict[str, str], family: str) -> None:
    assert _host._family(release) == family  # noqa: SLF001


def test_another_system_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "FreeBSD")
    with pytest.raises(
        _host.UnsupportedHostError, match=r"^this host runs FreeBSD; apps can only be deployed to Linux$"
    ):
        _host.facts()


@pytest.mark.parametrize(("comm", "init"), [("tini", "tini"), ("", "something else")])
def test_a_host_without_systemd_is_refused(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch, comm: str, init: str
) -> None:
    files["/proc/1/comm"] = comm
    monkeypatch.setattr(Path, "is_dir", lambda path: str(path) != "/run/systemd/system")
    with pytest.raises(_host.UnsupportedHostError) as caught:
        _host.facts()
    assert str(caught.value) == (
        f"this host is not run by systemd (PID 1 is {init}); apps run as systemd units, so choose a host that boots "
        "systemd"
    )


def test_facts(files: dict[str, str], programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    files |= {"/proc/meminfo": "MemTotal: 1048576 kB", "/proc/sys/net/core/somaxconn": "4096"}
    is_dir = Path.is_dir
    monkeypatch.setattr(Path, "is_dir", lambda path: str(path) == "/run/systemd/system" or is_dir(path))
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": "debian", "VERSION_ID": "13"})
    programs.add("systemctl", "echo 'systemd 257 (257.8-1)'")
    programs.add("nginx", "echo 'nginx version: nginx/1.26.3 (Debian)' >&2")
    programs.add("apt-get")
    monkeypatch.setattr(_host, "UV", str(programs.folder / "nothing"))
    found = _host.facts()
    assert found.pop("ipv6") is False
    assert found == {
        "os_family": "Debian",
        "distribution": "debian",
        "distribution_version": "13",
        "package_manager": "apt",
        "systemd": "257",
        "nginx": "1.26.3",
        "nginx_http3": False,
        "uv": "",
        "cpus": 8,
        "memory_mb": 1024,
        "nofile_ceiling": 1048576,
        "nofile_ceiling_from": "fs.nr_open",
        "somaxconn": 4096,
    }


def test_files_are_read_without_white_space(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(" 5\n")
    assert _host._read(str(tmp_path / "a")) == "5"  # noqa: SLF001
    assert _host._read(str(tmp_path / "b")) == ""  # noqa: SLF001


def test_interpreters(programs: Programs) -> None:
    assert _host.python_version(sys.executable) == platform.python_version()
    assert _host.python_version("python9.99") == ""
    programs.add("python3.10", "echo 'Python 3.10.4'")
    assert _host.python_version("python3.10") == "3.10.4"
    programs.add("snake", "echo hiss; exit 1")
    assert _host.python_version("snake") == ""


def both(release: str) -> list[str]:
    return [f"shop@{release}.service", f"shop@{release}.socket"]


def state(
    programs: Programs, srv: Path, *, active: dict[str, str], enabled: list[str], live: str | None
) -> dict[str, t.Any]:
    blocks = "".join(f"Id={unit}\\nActiveState={value}\\n\\n" for unit, value in active.items())
    programs.add("systemctl", f"printf '{blocks}'")
    if live:
        (srv / "shop/current").symlink_to(f"releases/{live}")
    enable_units(srv.parent / "units", *enabled)
    return _host.app_states(["shop"])["shop"]


def test_an_app_that_is_not_there(programs: Programs, srv: Path) -> None:
    assert state(programs, srv, active={}, enabled=[], live=None) == {
        "live": None,
        "releases": [],
        "running": False,
        "enabled": False,
        "stale": [],
        "prepared": False,
        "taken": [],
        "proven": {},
        "bad": {},
        "warm": [],
        "up": [],
        "lock": None,
    }
    assert programs.calls == [
        "systemctl show --property=Id,ActiveState -- shop@*.service shop@*.socket shop-retire-*.timer"
    ]


def test_no_apps_ask_nothing(programs: Programs) -> None:
    programs.add("systemctl", "exit 1")
    assert _host.app_states([]) == {}


def test_a_live_release(programs: Programs, srv: Path) -> None:
    release_folder(srv / "shop", LIVE)
    found = state(programs, srv, active=dict.fromkeys(both(LIVE), "active"), enabled=both(LIVE), live=LIVE)
    assert (found["live"], found["releases"], found["running"], found["enabled"]) == (LIVE, [LIVE], True, True)
    assert found["stale"] == []


@pytest.mark.parametrize("missing", [0, 1])
def test_half_a_live_release(programs: Programs, srv: Path, missing: int) -> None:
    units = both(LIVE)
    active = {**dict.fromkeys(units, "active"), units[missing]: "failed"}
    found = state(programs, srv, active=active, enabled=[units[1 - missing]], live=LIVE)
    assert (found["running"], found["enabled"]) == (False, False)


def test_instances_that_nobody_will_stop_are_stale(programs: Programs, srv: Path) -> None:
    retiring = "20261119T080000Z-dddddddddddd"
    active = {
        **dict.fromkeys([*both(LIVE), *both(OLD), *both(retiring)], "active"),
        f"shop-retire-{retiring}.timer": "active",
        f"shop-retire-{OLD}.timer": "inactive",
        "shop@20261118T080000Z-eeeeeeeeeeee.service": "inactive",
    }
    found = state(programs, srv, active=active, enabled=[*both(LIVE), *both(NEW)], live=LIVE)
    assert found["stale"] == [OLD, NEW]
    assert found["up"] == sorted([LIVE, OLD, retiring])


def test_prepared_means_owners_and_modes(srv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user, group = (4321, 4322) if AS_ROOT else (os.getuid(), os.getgid())
    monkeypatch.setattr(pwd, "getpwnam", lambda _name: pwd.struct_passwd(("shop", "x", user, group, "", "", "")))
    monkeypatch.setattr(grp, "getgrnam", lambda _name: grp.struct_group(("shop", "x", group, [])))
    app = App("shop", srv / "shop")
    shared = app.root / "shared"
    assert not _host._prepared(app)  # noqa: SLF001
    shared.mkdir()
    for path, mode in ((app.root, 0o755), (app.releases, 0o755), (shared, 0o750)):
        path.chmod(mode)
    if AS_ROOT:
        assert not _host._prepared(app)  # noqa: SLF001
        os.chown(shared, user, group)
        assert _host._prepared(app)  # noqa: SLF001
        shared.chmod(0o755)
    assert not _host._prepared(app)  # noqa: SLF001
