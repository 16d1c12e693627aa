# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NGINX as its own program shows it. Standard library only."""

from __future__ import annotations

import subprocess
from pathlib import Path

NGINX = "/usr/sbin/nginx"
# There while files are written that NGINX has not loaded: a run that was killed in between is made good by the next.
UNLOADED = Path("/run/paddock-nginx-unloaded")


def check() -> str:
    """Return what NGINX has against its configuration, or an empty text."""
    done = subprocess.run([NGINX, "-t"], capture_output=True, text=True, check=False)
    lines = [line for line in done.stderr.splitlines() if "[emerg]" in line or "[crit]" in line]
    return "\n".join(lines or [done.stderr.strip() or f"it ended with {done.returncode}"]) if done.returncode else ""
