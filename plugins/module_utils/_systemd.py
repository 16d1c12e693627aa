# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd as its own tools show it. Standard library only."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

UNITS = Path("/etc/systemd/system")
# How often, and how many seconds apart, the journal is read until it has settled.
SETTLING = 6
SETTLING_SECONDS = 0.3


class SystemdError(RuntimeError):
    """systemctl refused; the message says what and why."""


def systemctl(*arguments: str) -> str:
    """Run systemctl and return what it printed."""
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)
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
    return subprocess.run(command, capture_output=True, text=True, check=False, errors="replace").stdout.splitlines()
