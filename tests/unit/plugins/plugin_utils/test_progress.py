# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what the callback rollout makes of what happens."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.paddock.fastapi.plugins.plugin_utils import _progress
from ansible_collections.paddock.fastapi.plugins.plugin_utils._progress import Line, Progress, Step
from ansible_collections.paddock.fastapi.tests.unit.helpers import LIVE, NEW, OLD

WELL = {"ok": 3}
CHANGED = {"ok": 3, "changed": 1}
FAILED = {"ok": 3, "failures": 1}


def texts(lines: list[Line]) -> list[str]:
    return [line.text for line in lines]


def test_a_rollout() -> None:
    progress = Progress()
    assert progress.begin_stage("1", "Prepare", 10) == []
    for host in ("web1", "web2"):
        progress.goes_on(host, Step("Look"), 10)
        progress.done(host, 11)
    assert progress.begin_stage("2", "Stage", 12) == []
    progress.found("web1", {"shop": OLD, "blog": LIVE}, 12)
    progress.found("web2", {"shop": None}, 12)
    # Now that something has changed, the stages before are worth a line.
    assert texts(progress.change("web2", Step("Build", "shop"), 13)) == ["Prepare                 2.0 s"]
    assert progress.change("web1", Step("Build", "shop"), 13) == []
    assert progress.change("web1", Step("Build", "blog"), 13) == []
    progress.done("web1", 14)
    progress.done("web2", 15)
    assert texts(progress.begin_stage("3", "Switch", 15.25)) == [
        "Stage                   3.2 s",
        "    web1: Build (shop, blog)",
        "    web2: Build (shop)",
    ]
    # A batch of it after the other.
    for host, before in (("web1", OLD), ("web2", None)):
        assert progress.begin_stage("3", "Switch", 16) == []
        progress.change(host, Step("Switch", "shop"), 16)
        progress.switched(host, "shop", before, NEW, 16)
        progress.done(host, 17)
    # Nothing was done in a stage that no tag chose.
    assert len(progress.begin_stage("4", "Retire", 17)) == 2
    assert progress.end({"web1": CHANGED, "web2": CHANGED, "web3": WELL}, 20) == [
        Line(""),
        Line(f"changed  web1  7.0 s  shop {NEW} (before {OLD}), blog {LIVE}; 2 changes", "changed"),
        Line(f"changed  web2  7.0 s  shop {NEW} (new); 2 changes", "changed"),
        Line("ok       web3  0.0 s  no change", "ok"),
        Line("3 hosts, 10.0 s"),
    ]


def test_a_run_that_changes_nothing_is_a_line_for_each_host() -> None:
    progress = Progress()
    for number, name in enumerate(["Stage", "Switch"]):
        assert progress.begin_stage(str(number), name, number) == []
        progress.done("web1", number + 0.5)
    progress.found("web1", {"shop": LIVE, "blog": None}, 2)
    assert texts(progress.end({"web1": WELL}, 3)) == [f"ok  web1  1.0 s  shop {LIVE}, blog not deployed; no change"]


def test_check_mode() -> None:
    progress = Progress(check=True)
    progress.begin_stage("1", "Switch", 0)
    progress.found("web1", {"shop": LIVE}, 0)
    for app, before in (("shop", LIVE), ("blog", None)):
        progress.switched("web1", app, before, NEW, 0)
    progress.switched("web1", "gone", OLD, None, 0)
    progress.change("web1", Step("Switch"), 0)
    told = f"shop {LIVE}, would be {NEW}, blog not deployed, would be {NEW}, gone {OLD}, would be off"
    assert texts(progress.end({"web1": CHANGED}, 0))[-1] == f"changed  web1  0.0 s  {told}; 1 change to come"


def test_what_went_back_is_as_it_was() -> None:
    progress = Progress()
    progress.begin_stage("1", "Switch", 0)
    progress.switched("web1", "shop", OLD, NEW, 0)
    progress.switched("web1", "shop", NEW, OLD, 0)
    progress.switched("web1", "blog", None, NEW, 0)
    progress.switched("web1", "blog", NEW, None, 0)
    assert texts(progress.end({"web1": WELL}, 0)) == [f"ok  web1  0.0 s  shop {OLD}, blog not deployed; no change"]
    progress.switched("web1", "shop", OLD, None, 0)
    assert f"shop off (before {OLD})" in texts(progress.end({"web1": WELL}, 0))[0]


def test_a_host_without_apps() -> None:
    progress = Progress()
    progress.begin_stage("1", "Stage", 0)
    progress.found("web1", {}, 0)
    assert texts(progress.end({"web1": WELL}, 0)) == ["ok  web1  0.0 s  no app; no change"]


def test_failures_are_told_once() -> None:
    progress = Progress()
    progress.begin_stage("1", "Prepare", 0)
    progress.done("web1", 1)
    progress.begin_stage("2", "Stage", 1)
    assert progress.fail("web1", Step("Gate", "shop"), "not healthy\n\n  \x1b[31mlong\r\n", 1) == [
        Line("Prepare                 1.0 s", "ok"),
        Line("web1 failed in Stage: Gate (shop)", "failed"),
        Line("    not healthy"),
        Line(""),
        Line("      \\x1b[31mlong"),
    ]
    assert texts(progress.fail("web1", Step("Gate", "blog"), "slow", 1))[1:] == ["    slow"]
    # What ends the rescue says all of it again.
    ended = "Nothing was switched. not healthy\n\n  \x1b[31mlong slow"
    assert texts(progress.fail("web1", Step("Say"), ended, 1))[1:] == ["    Nothing was switched."]
    assert texts(progress.fail("web1", Step("Gate", "news"), "slow", 1))[1:] == ["    as before"]
    assert texts(progress.fail("web2", Step("Say"), "Nothing was switched.", 1))[1:] == ["    as web1"]
    assert progress.fail("web3", Step("Look"), "no route", 1, kind="unreachable")[0] == Line(
        "web3 unreachable in Stage: Look", "unreachable"
    )
    progress.done("web1", 4)
    summaries = {"web1": FAILED, "web2": FAILED, "web3": {"unreachable": 1}, "web4": WELL}
    assert texts(progress.end(summaries, 5)) == [
        "Stage                   4.0 s",
        "",
        "failed       web1  3.0 s  in Stage",
        "failed       web2  0.0 s  in Stage",
        "unreachable  web3  0.0 s  in Stage",
        "ok           web4  0.0 s  no change",
        "4 hosts, 5.0 s; failed: web1, web2; unreachable: web3",
    ]


def test_what_is_ignored_or_rescued_is_no_failure_in_the_end() -> None:
    progress = Progress()
    progress.begin_stage("1", "Stage", 0)
    assert texts(progress.fail("web1", Step("Try"), "no", 0, ignored=True)) == [
        "web1 failed in Stage: Try, which is ignored",
        "    no",
    ]
    summary = {**WELL, "ignored": 1, "rescued": 2}
    told = "no change; 2 failed and rescued; 1 failed and ignored"
    assert texts(progress.end({"web1": summary}, 0)) == [f"ok  web1  0.0 s  {told}"]


def test_long_lists_of_changes_are_wrapped_and_hosts_with_the_same_ones_share_them() -> None:
    progress = Progress(width=40)
    progress.begin_stage("1", "Prepare", 0)
    for number in range(7, 0, -1):
        for name in ("Install Python", "Install uv", "Set up self-signed certificates"):
            progress.change(f"web{number}", Step(name), 0)
        progress.done(f"web{number}", 0)
    assert texts(progress.end({}, 0))[:4] == [
        "Prepare                 0.0 s",
        "    web1, web2, web3 and 4 more: Install",
        "        Python; Install uv; Set up",
        "        self-signed certificates",
    ]


def test_lines_of_hosts_fit_the_terminal() -> None:
    progress = Progress()
    assert progress.live(80, 24) == []
    progress.begin_stage("1", "Stage", 0)
    for name in ("web1", "web10", "web3", "web4"):
        progress.goes_on(name, Step("Build the releases", "a\x1bb"), 0)
    progress.fail("web10", Step("Build"), "no", 0)
    assert progress.live(80, 24)[:2] == ["web1   Stage: Build the releases (a\\x1bb)", "web10  Stage: failed"]
    assert progress.live(13, 3) == ["web1   Stage", "web10  Stage", "and 2 more h"]
    progress.goes_on("web10", Step("Clean up"), 0)
    assert progress.live(80, 24)[1] == "web10  Stage: Clean up"


def test_lines_are_drawn_in_the_place_of_others() -> None:
    assert _progress.redraw(0, ["a", "b"]) == "\r\x1b[Ja\nb\n"
    assert _progress.redraw(2, ["c"]) == "\x1b[2A\r\x1b[Jc\n"


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"msg": "it is broken\nand why"}, "it is broken\nand why"),
        ({"msg": "Task failed: no route"}, "no route"),
        ({"msg": "non-zero return code", "rc": 1, "stdout": "a", "stderr": " b\n"}, "non-zero return code\nb"),
        ({"msg": "non-zero return code", "rc": 1, "stdout": "a", "stderr": ""}, "non-zero return code\na"),
        ({"msg": "E: no such package", "stderr": "E: no such package\n"}, "E: no such package"),
        ({"msg": "MODULE FAILURE", "module_stderr": "Traceback", "module_stdout": ""}, "MODULE FAILURE\nTraceback"),
        ({"censored": "the output has been hidden"}, "the output has been hidden"),
        ({"stdout": "only that"}, "only that"),
        ({"rc": 3}, ""),
    ],
)
def test_why_a_task_failed(result: dict[str, t.Any], expected: str) -> None:
    assert _progress.reason(result) == expected


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (59.94, "59.9 s"), (59.99, "1 min 0 s"), (60, "1 min 0 s"), (3725.4, "62 min 5 s")],
)
def test_spans(seconds: float, text: str) -> None:
    assert _progress.span(seconds) == text


def test_what_moves_a_terminals_cursor_is_told_instead() -> None:
    assert (
        _progress.printable("a\tb\r\nc\rd\x07\x1b[2J\x7f\x9b ü – 漢") == "a\tb\nc\\x0dd\\x07\\x1b[2J\\x7f\\x9b ü – 漢"
    )
