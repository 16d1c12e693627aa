# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this host has and what runs on it, read in one go. Standard library only, because it runs on the target."""

from __future__ import annotations

import contextlib
import grp
import os
import platform
import pwd
import re
import shutil
import typing as t
from collections.abc import Iterable
from pathlib import Path

from ansible_collections.paddock.fastapi.plugins.module_utils._command import run
from ansible_collections.paddock.fastapi.plugins.module_utils._layout import App
from ansible_collections.paddock.fastapi.plugins.module_utils._lock import holder
from ansible_collections.paddock.fastapi.plugins.module_utils._ours import taken
from ansible_collections.paddock.fastapi.plugins.module_utils._systemd import UNITS, show

CAP_SYS_RESOURCE = 24
# Where the role python installs it.
UV = "/opt/paddock/uv/bin/uv"


class UnsupportedHostError(RuntimeError):
    """The host is none that the collection can work with; the message says why."""


def facts() -> dict[str, t.Any]:
    """Describe the host: what sizes depend on, and what differs between distributions."""
    if platform.system() != "Linux":
        raise UnsupportedHostError(f"this host runs {platform.system()}; apps can only be deployed to Linux")
    if not Path("/run/systemd/system").is_dir():
        init = _read("/proc/1/comm") or "something else"
        raise UnsupportedHostError(
            f"this host is not run by systemd (PID 1 is {init}); apps run as systemd units, "
            "so choose a host that boots systemd"
        )
    release = platform.freedesktop_os_release()
    ceiling, origin = nofile_ceiling()
    nginx = _said(["nginx", "-V"])
    return {
        "os_family": _family(release),
        "distribution": release.get("ID", ""),
        "distribution_version": release.get("VERSION_ID", ""),
        "package_manager": "apt" if shutil.which("apt-get") else "dnf" if shutil.which("dnf") else "",
        "systemd": _version(["systemctl", "--version"], r"systemd (\d+)"),
        "nginx": _found(nginx, r"nginx/([\d.]+)"),
        "nginx_http3": bool(_found(nginx, r"--with-(http_v3)_module")),
        "uv": _version([UV, "--version"], r"uv ([\d.]+)"),
        "cpus": cpus(),
        "memory_mb": memory_mb(),
        "nofile_ceiling": ceiling,
        "nofile_ceiling_from": origin,
        "somaxconn": int(_read("/proc/sys/net/core/somaxconn") or 0),
        "ipv6": Path("/proc/net/if_inet6").exists() and bool(_read("/proc/net/if_inet6")),
    }


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _family(release: dict[str, str]) -> str:
    """Name the family as Ansible's own fact os_family does."""
    names = {release.get("ID", ""), *release.get("ID_LIKE", "").split()}
    for family, members in (("Debian", {"debian", "ubuntu"}), ("RedHat", {"rhel", "fedora", "centos"})):
        if names & members:
            return family
    return "default"


def _version(command: list[str], pattern: str) -> str:
    """Return what a program says of its version, or an empty text if it is not installed."""
    return _found(_said(command), pattern)


def _said(command: list[str]) -> str:
    """Return what a program prints, or an empty text if it is not installed."""
    path = shutil.which(command[0]) or shutil.which(command[0], path="/usr/sbin:/sbin")
    if not path:
        return ""
    done = run([path, *command[1:]])
    return done.stdout + done.stderr


def _found(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    return found.group(1) if found else ""


def cpus() -> int:
    """Count the CPUs that this host may use: fewer than the machine has, in a container with a quota."""
    usable = len(os.sched_getaffinity(0))
    quota, _space, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        usable = min(usable, max(1, int(quota) // int(period)))
    return usable


def memory_mb() -> int:
    """Return the MiB of memory that this host may use."""
    found = re.search(r"^MemTotal:\s+(\d+)", _read("/proc/meminfo"), re.MULTILINE)
    total = int(found.group(1)) // 1024 if found else 0
    limit = _read("/sys/fs/cgroup/memory.max")
    return min(total, int(limit) // 2**20) if limit.isdigit() else total


def nofile_ceiling() -> tuple[int, str]:
    """Return the most open files that a service can get here, and what sets that.

    systemd raises limits up to fs.nr_open, unless it lacks CAP_SYS_RESOURCE (in a container):
    then it silently gives no more than it has itself.
    """
    ceiling, origin = int(_read("/proc/sys/fs/nr_open") or 1048576), "fs.nr_open"
    capable = re.search(r"^CapEff:\s+([0-9a-f]+)", _read("/proc/1/status"), re.MULTILINE)
    hard = re.search(r"^Max open files\s+\S+\s+(\d+)", _read("/proc/1/limits"), re.MULTILINE)
    if capable and hard and not int(capable.group(1), 16) >> CAP_SYS_RESOURCE & 1 and int(hard.group(1)) < ceiling:
        ceiling, origin = int(hard.group(1)), "the hard limit of PID 1, which lacks CAP_SYS_RESOURCE,"
    return ceiling, origin


def app_states(names: Iterable[str]) -> dict[str, dict[str, t.Any]]:
    """Tell what is there of each app: its releases, which is live, and which instances run."""
    apps = [App.of(name) for name in names]
    patterns = [f"{app.name}@*.{kind}" for app in apps for kind in ("service", "socket")]
    patterns += [f"{app.name}-retire-*.timer" for app in apps]
    units = {unit: entry["ActiveState"] for unit, entry in show(patterns, "ActiveState").items()}
    return {app.name: _state(app, units) for app in apps}


def _state(app: App, units: dict[str, str]) -> dict[str, t.Any]:
    live = app.live()
    prefix = f"{app.name}@"
    active = {unit for unit, state in units.items() if unit.startswith(prefix) and state != "inactive"}
    enabled = {path.name for path in UNITS.glob(f"*.wants/{prefix}*")}
    instances = {unit.removeprefix(prefix).rpartition(".")[0] for unit in active | enabled}
    retiring = {
        unit.removeprefix(f"{app.name}-retire-").removesuffix(".timer")
        for unit, state in units.items()
        if unit.endswith(".timer") and state == "active"
    }
    proven, bad = app.marks()
    mine = {app.service_unit(live), app.socket_unit(live)} if live else set()
    return {
        "live": live,
        "releases": app.complete(),
        # When each was last proven live, and why a bad one is bad.
        "proven": proven,
        "bad": bad,
        # Instances that run beside the live one: to go back to such a one is a switch.
        "warm": sorted(release for release in instances - {live} if app.service_unit(release) in active),
        # Releases of which something runs, or is about to: these are not pruned.
        "up": sorted({unit.removeprefix(prefix).rpartition(".")[0] for unit in active}),
        "lock": holder(app),
        "running": bool(mine) and all(units.get(unit) == "active" for unit in mine),
        "enabled": bool(mine) and mine <= enabled,
        # Instances that nobody will stop: what an interrupted run left behind.
        "stale": sorted(instances - {live} - retiring),
        "prepared": _prepared(app),
        # What bears its name and is somebody else's.
        "taken": taken(app),
    }


def _prepared(app: App) -> bool:
    """Tell whether the app's user and folders are as the app role makes them."""
    with contextlib.suppress(KeyError, OSError):
        user, group = pwd.getpwnam(app.name).pw_uid, grp.getgrnam(app.name).gr_gid
        wanted = {app.root: (0, 0, 0o755), app.releases: (0, 0, 0o755), app.root / "shared": (user, group, 0o750)}
        found = {path: path.stat() for path in wanted}
        return all((s.st_uid, s.st_gid, s.st_mode & 0o7777) == wanted[path] for path, s in found.items())
    return False


def python_version(interpreter: str) -> str:
    """Return the version of an interpreter, or an empty text if the host has none of that name."""
    return _version([interpreter, "--version"], r"Python ([\d.]+)")
