# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the log of rollouts."""

from __future__ import annotations

import json
import re
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.paddock.fastapi.plugins.module_utils import _lock
from ansible_collections.paddock.fastapi.plugins.module_utils._audit import LINES, SUCCESS, events, record
from ansible_collections.paddock.fastapi.plugins.module_utils._layout import App
from ansible_collections.paddock.fastapi.tests.unit.helpers import LIVE, NEW, OLD, ROOT

RUN = {"run": "r", "by": "alice@laptop", "control": "laptop", "pid": 1, "since": "2026-11-22 15:40:42 UTC"}


@pytest.fixture
def app(tmp_path: Path) -> App:
    (tmp_path / "releases").mkdir()
    return App("shop", tmp_path)


@pytest.fixture
def log(app: App) -> Path:
    return app.root / "rollouts.jsonl"


def never(text: str) -> None:
    raise AssertionError(text)


def test_an_event_has_all_that_there_is_to_know(app: App, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_900_000_000.0)
    _lock.take(app, {**RUN, "playbook": "deploy"})
    monkeypatch.setattr(time, "time", lambda: 1_900_000_012.34)
    # It is renewed with each call of a run, and has been held all the time.
    _lock.take(app, {**RUN, "playbook": "deploy"})
    record(app, "switched", release=NEW, before=LIVE, warn=never)
    assert events(app) == [
        {
            "time": "2030-03-17T17:46:52Z",
            "app": "shop",
            "playbook": "deploy",
            "event": "switched",
            "result": "success",
            "by": "alice@laptop",
            "release": NEW,
            "before": LIVE,
            "seconds": 12.3,
            "reason": "",
        }
    ]
    assert json.loads(log.read_text()) == events(app)[0]
    assert log.stat().st_mode & 0o7777 == 0o640


def test_without_a_lock_nobody_did_it(app: App) -> None:
    record(app, "went back", release=None, before=NEW, reason="why", warn=never)
    found = events(app)[0]
    assert (found["by"], found["playbook"], found["seconds"], found["result"]) == (None, None, None, "failure")


@pytest.mark.parametrize(
    ("reason", "kept"), [(" no\ndisk", "no"), ("", ""), ("x" * 1000, "x" * 300), ('"\u00fc', '"\u00fc')]
)
def test_of_a_reason_its_first_line_is_kept(app: App, log: Path, reason: str, kept: str) -> None:
    record(app, "failed", release=NEW, before=None, reason=reason, warn=never)
    assert events(app)[0]["reason"] == kept
    assert len(log.read_text().splitlines()) == 1


def test_it_does_not_grow_for_ever(app: App, log: Path) -> None:
    log.write_text("".join(f'{{"event": "switched", "release": {number}}}\n' for number in range(LINES + 50)))
    record(app, "switched", release=NEW, before=LIVE, warn=never)
    found = events(app)
    assert len(found) == len(log.read_text().splitlines()) == LINES
    assert [found[0]["release"], found[-2]["release"], found[-1]["release"]] == [51, LINES + 49, NEW]
    assert [path.name for path in app.root.iterdir()] != []
    assert not list(app.root.glob(".rollouts*"))


@pytest.mark.parametrize("line", ['{"event": "cut sh', "", "5", "[]", '{"event": "danced"}', "\xff"])
def test_what_is_no_event_is_left_out(app: App, log: Path, line: str) -> None:
    record(app, "switched", release=OLD, before=None, warn=never)
    with log.open("a", encoding="latin-1") as file:
        file.write(f"{line}\n")
    record(app, "rolled back", release=LIVE, before=OLD, warn=never)
    assert [entry["release"] for entry in events(app)] == [OLD, LIVE]


def test_a_log_that_cannot_be_written_is_a_warning(app: App, log: Path) -> None:
    log.mkdir()
    warnings: list[str] = []
    record(app, "switched", release=NEW, before=LIVE, warn=warnings.append)
    assert warnings == [f"app shop: {log} cannot be written: Is a directory"]
    warnings.clear()
    gone = App("gone", app.root / "gone")
    record(gone, "failed", release=NEW, before=None, warn=warnings.append)
    assert len(warnings) == 1
    assert events(gone) == []


def test_the_documentation_has_every_event() -> None:
    text = (ROOT / "docs/rollout.md").read_text(encoding="utf-8")
    table = re.search(r"^\| event \|.*?(?=\n\n)", text, re.MULTILINE | re.DOTALL)
    assert table
    told: dict[str, t.Any] = dict(re.findall(r"^\| `([a-z ]+)` \| `(\w+)` \|", table.group(0), re.MULTILINE))
    assert told == {event: "success" if well else "failure" for event, well in SUCCESS.items()}
