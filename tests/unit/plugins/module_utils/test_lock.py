# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the lock that lets one rollout of an app happen at a time."""

from __future__ import annotations

import multiprocessing
import os
import time
import typing as t
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
from ansible_collections.paddock.fastapi.plugins.module_utils import _lock
from ansible_collections.paddock.fastapi.plugins.module_utils._layout import App
from ansible_collections.paddock.fastapi.plugins.module_utils._lock import LockedError, holder, release, take


def run(name: str, *dead: str) -> dict[str, t.Any]:
    since = "2026-11-22 15:40:42 UTC"
    return {"run": name, "by": f"{name}@laptop", "control": "laptop", "pid": 4711, "since": since, "dead": list(dead)}


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    if os.geteuid():
        monkeypatch.setattr(os, "fchown", lambda *_arguments: None)
    (tmp_path / "releases").mkdir()
    return App("shop", tmp_path)


def held_by(app: App) -> str:
    found = holder(app)
    return found["run"] if found else ""


def test_it_is_taken_renewed_and_given_back(app: App) -> None:
    assert held_by(app) == ""
    take(app, run("alice"))
    take(app, run("alice"))
    assert held_by(app) == "alice"
    release(app, run("bob"))
    assert held_by(app) == "alice", "only who holds it gives it back"
    release(app, run("alice"))
    assert held_by(app) == ""


def test_a_host_that_is_new_to_the_app_has_none_to_give_back(tmp_path: Path) -> None:
    release(App("shop", tmp_path / "shop"), run("alice"))
    assert not (tmp_path / "shop").exists()


def test_another_is_told_whose_it_is(app: App) -> None:
    take(app, run("alice"))
    with pytest.raises(LockedError) as caught:
        take(app, run("bob"))
    assert str(caught.value) == (
        "app shop: alice@laptop (process 4711 there) is rolling it out since 2026-11-22 15:40:42 UTC; "
        "run again when that has ended, or wait for it with -e fastapi_lock_wait=SECONDS"
    )
    assert held_by(app) == "alice"


def test_that_of_a_dead_run_is_taken_over(app: App) -> None:
    take(app, run("alice"))
    take(app, run("bob", "alice"))
    assert held_by(app) == "bob"


def test_that_of_a_silent_run_is_taken_over(app: App) -> None:
    take(app, run("alice"))
    then = time.time() - _lock.LEASE - 1
    os.utime(app.root / ".rollout.json", (then, then))
    take(app, run("bob"))
    assert held_by(app) == "bob"


def test_it_is_waited_for(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    take(app, run("alice"))
    monkeypatch.setattr(time, "sleep", lambda _seconds: release(app, run("alice")))
    take(app, run("bob"), wait=5)
    assert held_by(app) == "bob"


def test_a_broken_file_is_no_lock(app: App) -> None:
    (app.root / ".rollout.json").write_text("{")
    take(app, run("bob"))
    assert held_by(app) == "bob"


def test_no_lock_is_used_without_a_run(app: App) -> None:
    take(app, None)
    take(app, {})
    release(app, None)
    assert not (app.root / ".rollout.json").exists()


def _try(root: str, name: str, results: multiprocessing.Queue[str]) -> None:
    try:
        take(App("shop", Path(root)), run(name))
        results.put(name)
    except LockedError:
        results.put("")


def _work(root: str, started: Event, seconds: float) -> None:
    take(App("shop", Path(root)), run("alice"))
    started.set()
    time.sleep(seconds)


@pytest.mark.slow
def test_what_a_dead_run_still_does_is_waited_for(app: App) -> None:
    context = multiprocessing.get_context("fork")
    started = context.Event()
    process = context.Process(target=_work, args=(str(app.root), started, 0.5))
    process.start()
    assert started.wait(5)
    began = time.monotonic()
    take(app, run("bob", "alice"))
    assert time.monotonic() - began > 0.3
    assert held_by(app) == "bob"
    process.join()


def test_of_many_at_once_one_gets_it(app: App) -> None:
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[str] = context.Queue()
    names = [f"run{number}" for number in range(8)]
    processes = [context.Process(target=_try, args=(str(app.root), name, results)) for name in names]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    got = [name for name in (results.get() for _ in names) if name]
    assert got == [held_by(app)]
