# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One rollout of an app at a time: a lock on the host that says who holds it. Standard library only.

It outlives the calls of one run, so it cannot be a lock of the kernel's:
it is a file that every call of the run renews.
A run that died is recognized by its control node (same machine, no such process), or by its silence.
What it was doing on the host may go on for a while, so each call has a lock of the kernel's as well, until it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import time
import typing as t
from collections.abc import Iterator, Mapping

from ansible_collections.paddock.fastapi.plugins.module_utils._layout import App, write

# Seconds without a sign of life after which a rollout counts as dead: longer than any step between two calls.
LEASE = 1800
POLL = 0.5

Holder = Mapping[str, t.Any]


class LockedError(RuntimeError):
    """Another rollout holds the lock; the message says whose it is, and since when."""


def holder(app: App) -> dict[str, t.Any] | None:
    """Return who holds the lock: run, by, control, pid, since; playbook and taken; and how long it was silent.

    since: when the run began, as text of its control node. taken: when it took this lock, by the clock of this host.
    """
    path = app.root / ".rollout.json"
    with contextlib.suppress(OSError, ValueError):
        found = t.cast("dict[str, t.Any]", json.loads(path.read_text(encoding="utf-8")))
        return {**found, "silent": max(0.0, time.time() - path.stat().st_mtime)}
    return None


def describe(held: Holder) -> str:
    """Say who rolls out, from where, since when, and what can be done."""
    return (
        f"{held['by']} (process {held['pid']} there) is rolling it out since {held['since']}; "
        "run again when that has ended, or wait for it with -e fastapi_lock_wait=SECONDS"
    )


def is_free(held: Holder | None, wanted: Holder) -> bool:
    """Tell whether a run may take the lock from its holder."""
    if held is None or held["run"] == wanted["run"]:
        return True
    return held["run"] in wanted.get("dead", ()) or held["silent"] > LEASE


def take(app: App, wanted: Holder | None, wait: int = 0) -> None:
    """Take the lock for a run, or renew it. wait: seconds to wait for another rollout to end.

    wanted: run, by, control, pid, since; playbook, if it is one; dead: runs that the control node knows to be dead.
    None: no lock is used.
    Raises LockedError.
    """
    if not wanted:
        return
    deadline = time.monotonic() + wait
    while True:
        with exclusive(app):
            held = holder(app)
            if is_free(held, wanted):
                kept = {name: wanted[name] for name in ("run", "by", "control", "pid", "since")}
                mine = held if held and held["run"] == wanted["run"] else {}
                kept |= {"playbook": wanted.get("playbook"), "taken": mine.get("taken", time.time())}
                path = app.root / ".rollout.json"
                write(path, json.dumps(kept) + "\n", 0o644)
                os.utime(path)
                break
        if time.monotonic() >= deadline:
            raise LockedError(f"app {app.name}: {describe(t.cast('Holder', held))}")
        time.sleep(POLL)
    _work_alone(app)


@functools.cache
def _work_alone(app: App) -> int:
    """Wait until no other process is at work on the app, and keep others waiting until this one ends."""
    handle = os.open(app.releases, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def release(app: App, wanted: Holder | None) -> None:
    """Give the lock back, if the run holds it."""
    if not wanted or not holder(app):  # on a host that is new to the app there is not even a folder to lock
        return
    with exclusive(app):
        held = holder(app)
        if held and held["run"] == wanted["run"]:
            (app.root / ".rollout.json").unlink()


@contextlib.contextmanager
def exclusive(app: App) -> Iterator[None]:
    """Let one process at a time look at the lock and change it."""
    handle = os.open(app.root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
