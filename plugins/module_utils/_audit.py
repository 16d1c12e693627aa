# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was rolled out on a host, when and by whom: a line for each event. Standard library only."""

from __future__ import annotations

import contextlib
import json
import time
import typing as t
from collections.abc import Callable
from pathlib import Path

from ansible_collections.paddock.fastapi.plugins.module_utils._layout import App, write
from ansible_collections.paddock.fastapi.plugins.module_utils._lock import exclusive, holder

# Its name in the folder of the app.
NAME = "rollouts.jsonl"
# As many lines are kept, some hundred bytes each.
LINES = 1000
# Characters of a reason: the whole of it is in the output of the run.
REASON = 300
# All events, and how each ended. Those that are true have made a release live that was not.
SUCCESS = {"switched": True, "rolled back": True, "went back": False, "did not pass": False, "failed": False}


def record(
    app: App,
    event: str,
    *,
    release: str | None,
    before: str | None,
    warn: Callable[[str], None],
    reason: str = "",
) -> None:
    """Add a line to the app's log of rollouts.

    event: one of SUCCESS. release: that it is about, the live one if it made one live. before: that was live before.
    Who rolls out, and since when, is what the lock on this host says. A log that cannot be written is told of by
    `warn`: a full disk must not have a host go back that has switched.
    """
    lock = holder(app) or {}
    now = time.time()
    entry = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
        "app": app.name,
        "playbook": lock.get("playbook"),
        "event": event,
        "result": "success" if SUCCESS[event] else "failure",
        "by": lock.get("by"),
        "release": release,
        "before": before,
        "seconds": round(now - lock["taken"], 1) if "taken" in lock else None,
        "reason": reason.strip().partition("\n")[0][:REASON],
    }
    path = _path(app)
    try:
        with exclusive(app):
            # Anew as a whole: it is cut to its length by that, and never half a line.
            kept = _read(path).splitlines()[-(LINES - 1) :]
            write(path, "".join(f"{line}\n" for line in [*kept, json.dumps(entry)]), 0o640)
    except OSError as error:
        warn(f"app {app.name}: {path} cannot be written: {error.strerror}")


def events(app: App) -> list[dict[str, t.Any]]:
    """Read the app's log of rollouts, oldest first. What is no event of ours is left out."""
    found = []
    for line in _read(_path(app)).splitlines():
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and entry.get("event") in SUCCESS:
                found.append(entry)
    return found


def _path(app: App) -> Path:
    return app.root / NAME


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
