# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd as its own tools show it. Standard library only."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.paddock.fastapi.plugins.module_utils._command import run

UNITS = Path("/etc/systemd/system")
# How often, and how many seconds apart, the journal is read until it has settled.
SETTLING = 6
SETTLING_SECONDS = 0.3


class SystemdError(RuntimeError):
    """systemctl refused; the message says what and why."""


def systemctl(*arguments: str) -> str:
    """Run systemctl and return what it printed."""
    done = run(["systemctl", *arguments])
    if done.returncode:
        reason = (done.stderr or done.stdout).strip()
        raise SystemdError(f"systemctl {' '.join(arguments)}: {reason or f'exit code {done.returncode}'}")
    return done.stdout


def show(units: Sequence[str], *properties: str) -> dict[str, dict[str, str]]:
    """Read properties of units, by unit. A pattern stands for the units of that name that systemd has loaded."""
    if not units:
        return {}
    wanted = ",".join(("Id", *properties))
    blocks = systemctl("show", f"--property={wanted}", "--", *units).strip().split("\n\n")
    found = [dict(line.partition("=")[::2] for line in block.splitlines() if "=" in line) for block in blocks]
    return {entry["Id"]: entry for entry in found if "Id" in entry}


def nofile_of(pid: int, proc: Path = Path("/proc")) -> int | None:
    """Return how many files a process may have open: systemd gives what the host allows, and says nothing of it."""
    try:
        limits = (proc / str(pid) / "limits").read_text(encoding="ascii")
    except OSError:  # it has ended
        return None
    found = re.search(r"^Max open files\s+(\d+)", limits, re.MULTILINE)
    return int(found.group(1)) if found else None


def journal(unit: str, lines: int = 20, since: float | None = None) -> list[str]:
    """Return the last lines that a unit's processes logged, oldest first. since: seconds since the epoch.

    If they logged nothing, what systemd says of the unit is all there is. journald may be seconds behind on a busy
    host, so it is read until it says nothing new.
    """
    command = ["journalctl", "--lines", str(lines), "--output", "cat", "--no-pager", "--quiet"]
    if since is not None:
        command += ["--since", f"@{since:.3f}"]
    found: list[str] = []
    for attempt in range(SETTLING):
        if attempt:
            time.sleep(SETTLING_SECONDS)
        before, found = found, _read_journal([*command, f"_SYSTEMD_UNIT={unit}"])
        if found and found == before:
            return found
    return found or _read_journal([*command, f"--unit={unit}"])


def _read_journal(command: Sequence[str]) -> list[str]:
    return [part for line in run(command).stdout.splitlines() for part in readable(line)]


def readable(line: str) -> list[str]:
    """Return what an instance logged as JSON (logs.py of the role service) as lines for people, all else as it is."""
    if not line.startswith('{"time":'):
        return [line]
    try:
        record = json.loads(line)
        first = f"{record['level']} {record['logger']}: {record['message']}"
        more = [record[name] for name in ("exception", "stack") if name in record]
        return "\n".join([first, *more]).splitlines()
    except (ValueError, KeyError, TypeError):  # an app's own JSON
        return [line]
