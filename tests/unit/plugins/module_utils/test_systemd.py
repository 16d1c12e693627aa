# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what systemd's tools are asked and how their answers are read."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.paddock.fastapi.plugins.module_utils._systemd import SystemdError, journal, show, systemctl
from ansible_collections.paddock.fastapi.tests.unit.helpers import Programs


def test_show_reads_units_by_name(programs: Programs) -> None:
    programs.add(
        "systemctl",
        "printf 'Id=a.service\\nActiveState=active\\nDescription=x=y z\\n\\nActiveState=inactive\\nId=b.socket\\n'",
    )
    assert show(["a.service", "b*.socket"], "ActiveState", "Description") == {
        "a.service": {"Id": "a.service", "ActiveState": "active", "Description": "x=y z"},
        "b.socket": {"Id": "b.socket", "ActiveState": "inactive"},
    }
    assert programs.calls == ["systemctl show --property=Id,ActiveState,Description -- a.service b*.socket"]


def test_show_of_patterns_without_units(programs: Programs) -> None:
    programs.add("systemctl")
    assert show(["a*.service"], "ActiveState") == {}


def test_show_of_nothing_asks_nothing(programs: Programs) -> None:
    programs.add("systemctl", "exit 1")
    assert show([], "ActiveState") == {}
    assert programs.calls == []


def test_units_without_a_name_are_left_out(programs: Programs) -> None:
    programs.add("systemctl", "printf 'ActiveState=active\\n'")
    assert show(["a.service"], "ActiveState") == {}


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'Unit a.service not found.' >&2; exit 5", "Unit a.service not found."),
        ("echo 'on standard output'; exit 1", "on standard output"),
        ("exit 4", "exit code 4"),
    ],
)
def test_refusals_say_what_and_why(programs: Programs, script: str, reason: str) -> None:
    programs.add("systemctl", script)
    with pytest.raises(SystemdError) as caught:
        systemctl("start", "a.service")
    assert str(caught.value) == f"systemctl start a.service: {reason}"


def test_systemctl_returns_what_it_prints(programs: Programs) -> None:
    programs.add("systemctl", "echo enabled; echo warning >&2")
    assert systemctl("is-enabled", "a") == "enabled\n"


def test_journal(programs: Programs) -> None:
    programs.add("journalctl", "printf 'one\\ntwo \\351\\n'")
    assert journal("a.service", since=1.5) == ["one", "two \ufffd"]
    journal("a.service", lines=5)
    assert programs.calls == [
        *["journalctl --lines 20 --output cat --no-pager --quiet --since @1.500 _SYSTEMD_UNIT=a.service"] * 2,
        *["journalctl --lines 5 --output cat --no-pager --quiet _SYSTEMD_UNIT=a.service"] * 2,
    ]


def test_journal_that_is_behind(programs: Programs, tmp_path: Path) -> None:
    log = tmp_path / "log"
    programs.add("journalctl", f"[ -s {log} ] && echo KeyError >>{log} || echo Traceback >{log}; head -n 3 {log}")
    assert journal("a.service") == ["Traceback", "KeyError", "KeyError"]


def test_journal_of_a_unit_whose_processes_said_nothing(programs: Programs) -> None:
    programs.add("journalctl", 'case "$*" in *--unit=*) echo "Failed to execute" ;; esac')
    assert journal("a.service") == ["Failed to execute"]
