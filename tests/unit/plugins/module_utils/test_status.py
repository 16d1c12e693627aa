# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what status reads from a host."""

from __future__ import annotations

import json
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.paddock.fastapi.plugins.module_utils import _nginx, _status
from ansible_collections.paddock.fastapi.plugins.module_utils._instance import units_of
from ansible_collections.paddock.fastapi.plugins.module_utils._layout import App
from ansible_collections.paddock.fastapi.plugins.module_utils._probe import Answer, Expectation, Target
from ansible_collections.paddock.fastapi.plugins.module_utils._settings import public, resolve
from ansible_collections.paddock.fastapi.tests.unit.helpers import (
    LIVE,
    NEW,
    OLD,
    ROOT,
    Programs,
    RunModule,
    a_key,
    an_app,
    certificate_pem,
    release_folder,
    write_files,
)

MIB = 2**20


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", 0),
        ("0", 0),
        ("57.5s", 57.5),
        ("1min 30s", 90),
        ("2h 5min 1.5s", 7501.5),
        ("3w 2d 1h 1min 1s 500ms 250us", 1990861.50025),
        ("1month 1d", 2716200),
        ("1y", 31557600),
        ("infinity", 0),
    ],
)
def test_time_spans_of_systemd(text: str, seconds: float) -> None:
    assert _status.span(text) == pytest.approx(seconds)


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder for processes: 10 started 11 and 12, 12 started 13; 20 is another's."""
    folder = tmp_path / "proc"
    monkeypatch.setattr(_status, "PROC", folder)
    for pid, parent in ((1, 0), (10, 1), (11, 10), (12, 10), (13, 12), (20, 1)):
        write_files(folder, {f"{pid}/stat": f"{pid} (a ) b) S {parent} 0 0\n", f"{pid}/cmdline": "python\0-m\0server"})
    return folder


def test_processes(proc: Path) -> None:
    assert proc
    assert _status.descendants(10) == {10: 1, 11: 10, 12: 10, 13: 12}
    assert _status.descendants(99) == {}


@pytest.mark.parametrize(
    ("main", "single", "helper", "expected"),
    [(10, False, None, 2), (10, False, 11, 1), (10, True, None, 1), (99, True, None, 0), (99, False, None, 0)],
)
def test_workers(proc: Path, main: int, single: bool, helper: int | None, expected: int) -> None:  # noqa: FBT001
    if helper:
        command = "python\0-c\0from multiprocessing.resource_tracker import main;main(5)"
        write_files(proc, {f"{helper}/cmdline": command})
    assert _status.running_workers(main, _status.descendants(main), single=single) == expected


SIZED = ("tasks_max", "memory_high", "memory_max", "cpu_quota")


def test_limits_and_what_is_used_of_them(proc: Path) -> None:
    line = "Limit  Soft Limit  Hard Limit  Units\nMax open files            4096                 65536      files\n"
    write_files(proc, {"10/limits": line, "10/fd/0": "", "11/fd/0": "", "11/fd/1": "", "10/task/10/x": ""})
    write_files(proc, {"11/task/11/x": "", "11/task/14/x": ""})
    shown = {"TasksMax": "99", "MemoryHigh": "infinity", "MemoryMax": "536870912", "CPUQuotaPerSecUSec": "1.500s"}
    assert _status.limits(10, _status.descendants(10), shown, {"mib": 143, "from": "pss"}) == {
        "nofile": {"running": 4096, "used": 2},
        "tasks_max": {"running": 99, "used": 3},
        "memory_high": {"running": None, "used": 143},
        "memory_max": {"running": 512, "used": 143},
        "cpu_quota": {"running": 150, "used": None},
    }
    assert _status.limits(0, {}, {"CPUQuotaPerSecUSec": "infinity"}, None) == {
        name: {"running": None, "used": None} for name in ("nofile", *SIZED)
    }


@pytest.mark.parametrize(
    ("current", "files", "expected"),
    [
        (str(100 * MIB), {"10/smaps_rollup": "Pss: 1 kB\n"}, {"mib": 100, "from": "cgroup"}),
        ("[not set]", {"10/smaps_rollup": "Rss: 9 kB\nPss:   2048 kB\nPss_Anon: 7 kB\n"}, {"mib": 2, "from": "pss"}),
        (str(2**64 - 1), {f"{pid}/smaps_rollup": "Pss: 1024 kB\n" for pid in (10, 11)}, {"mib": 2, "from": "pss"}),
        ("", {"10/status": "Name: x\nVmRSS:\t  3072 kB\n"}, {"mib": 3, "from": "rss"}),
        ("", {}, None),
    ],
)
def test_memory(proc: Path, current: str, files: dict[str, str], expected: dict[str, t.Any] | None) -> None:
    write_files(proc, files)
    assert _status.memory(current, [10, 11, 99]) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, (None, "gunicorn")),
        ({"gunicorn.conf.py": "workers = 4\nworkers_x = 9\n", "run": "exec python -m gunicorn"}, (4, "gunicorn")),
        (
            {
                "gunicorn.conf.py": "workers = 4\n",
                "run": "exec venv/bin/python -P serve.py uvicorn shop:app \\\n --fd 3 --workers 1 --loop uvloop",
            },
            (1, "uvicorn"),
        ),
    ],
)
def test_what_a_release_was_made_for(tmp_path: Path, files: dict[str, str], expected: tuple[int | None, str]) -> None:
    app = App("shop", tmp_path)
    write_files(release_folder(tmp_path, LIVE), files)
    assert _status.made_for(app, LIVE) == expected


def test_the_templates_of_servers_say_workers_as_they_are_read() -> None:
    folder = ROOT / "roles/service/templates"
    assert "\nworkers = {{" in (folder / "gunicorn.conf.py.j2").read_text()
    uvicorn = (folder / "uvicorn.run.j2").read_text()
    assert "serve.py uvicorn " in uvicorn
    assert "--workers {{" in uvicorn.partition("serve.py uvicorn ")[2]


def test_units_that_differ(srv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    units = srv.parent / "units"
    monkeypatch.setattr(_status, "UNITS", units)
    app = App.of("shop")
    folder = release_folder(srv / "shop", LIVE)
    assert _status.differing_units(app, LIVE) == [], "a release of before they were kept"
    write_files(folder, {"units/@.service": "a", "units/@.socket": "b"})
    write_files(units, {"shop@.service": "a"})
    assert _status.differing_units(app, LIVE) == [f"{units}/shop@.socket"]
    write_files(units, {"shop@.socket": "c"})
    assert _status.differing_units(app, LIVE) == [f"{units}/shop@.socket"]
    write_files(units, {"shop@.socket": "b"})
    assert _status.differing_units(app, LIVE) == []
    write_files(folder, {"credentials/token": "x"})
    ours = f"shop@{LIVE}.service.d/credentials.conf"
    assert _status.differing_units(app, LIVE) == [f"{units}/{ours}"]
    write_files(units, {ours: units_of(app, LIVE)[f"@{LIVE}.service.d/credentials.conf"]})
    assert _status.differing_units(app, LIVE) == []


def test_apps_that_are_no_longer_in_the_inventory(srv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    units = srv.parent / "units"
    monkeypatch.setattr(_status, "UNITS", units)
    ours = "# Ansible managed (paddock.fastapi, role service)\n"
    names = ("shop", "gone", "known", "theirs", "folderless")
    write_files(units, {f"{name}@.service": "" if name == "theirs" else ours for name in names})
    for name in ("gone", "known", "theirs"):
        (srv / name / "releases").mkdir(parents=True)
    assert _status.left_over({"known"}) == ["gone", "shop"]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], None),
        ([{"event": "did not pass", "release": LIVE}], None),
        ([{"event": "switched", "release": LIVE, "n": 1}, {"event": "switched", "release": OLD}], 1),
        ([{"event": "switched", "release": LIVE, "n": 1}, {"event": "rolled back", "release": LIVE, "n": 2}], 2),
        ([{"event": "switched", "release": LIVE, "n": 1}, {"event": "went back", "release": LIVE, "n": 2}], 1),
    ],
)
def test_when_a_release_became_live(events: list[dict[str, t.Any]], expected: int | None) -> None:
    found = _status.went_live(events, LIVE)
    assert (found and found["n"]) == expected


# -- all of it ------------------------------------------------------------------------------------------------------


@pytest.fixture
def host(
    srv: Path, programs: Programs, proc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> t.Callable[[str], None]:
    """Return a function that makes systemctl show these units."""
    assert proc
    programs.add("nginx", "exit 0")
    monkeypatch.setattr(_nginx, "NGINX", str(programs.folder / "nginx"))
    monkeypatch.setattr(_nginx, "UNLOADED", tmp_path / "unloaded")
    monkeypatch.setattr(_status, "NGINX_FOLDER", tmp_path / "nginx")
    monkeypatch.setattr(_status, "UNITS", srv.parent / "units")

    def show(blocks: str) -> None:
        (tmp_path / "blocks").write_text(blocks)
        programs.add("systemctl", f"cat {tmp_path}/blocks")

    return show


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, t.Any]:
    """Return the settings of an app whose certificate has 30 days left."""
    app = public(resolve([an_app()])[0])
    path = tmp_path / "shop.crt"
    path.write_bytes(certificate_pem(a_key(), ["shop.example.com"], last=30.5))
    return {**app, "tls": {**app["tls"], "certificate_path": str(path)}}


def test_a_host_without_anything(
    host: t.Callable[[str], None], settings: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    host("Id=nginx.service\nActiveState=inactive\nUnitFileState=\n")
    monkeypatch.setattr(_nginx, "NGINX", "/nowhere/nginx")
    found = _status.look([settings], 80, 443)
    nginx = {"installed": False, "active": False, "enabled": False, "unloaded": False, "problem": "", "files": {}}
    assert found["nginx"] == nginx
    app = found["apps"][0]
    assert (app["live"], app["running"], app["health"], app["memory"], app["restarts"]) == (
        None,
        False,
        None,
        None,
        None,
    )
    assert app["workers"] == {"running": 0, "release": None}
    assert app["certificate"]["days_left"] == 30


def test_a_host_with_an_app(
    host: t.Callable[[str], None],
    srv: Path,
    tmp_path: Path,
    settings: dict[str, t.Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = time.time()
    shop = srv / "shop"
    for release in (OLD, LIVE, NEW):
        write_files(
            release_folder(shop, release), {"gunicorn.conf.py": "workers = 2\n", "proven": f"{now - 500:.3f}\n"}
        )
    record = {"by": "bob@ci", "source": "/src", "fingerprint": "f"}
    (shop / "releases" / LIVE / "release.json").write_text(json.dumps(record))
    (shop / "releases" / NEW / "bad").write_text("it was slow\n")
    (shop / "current").symlink_to(f"releases/{LIVE}")
    switched = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - 90)), "event": "switched"}
    events = [
        *({"time": "2026-11-22T15:40:42Z", "event": "failed", "release": f"{number}"} for number in range(12)),
        {**switched, "by": "alice@laptop", "release": LIVE, "before": OLD},
        {**switched, "event": "went back", "release": OLD, "before": LIVE},
    ]
    (shop / "rollouts.jsonl").write_text("".join(f"{json.dumps(event)}\n" for event in events) + "{cut")
    lock = {"run": "r", "by": "eve@ci", "control": "c", "pid": 1, "since": "then"}
    (shop / ".rollout.json").write_text(json.dumps(lock))
    write_files(tmp_path / "nginx", {"nginx.conf": "", "conf.d/shop.conf": "x", "conf.d/other.conf": "y"})
    elapse = time.monotonic() + 42
    write_files(shop / "releases" / LIVE, {"credentials/token": "x"})
    suffix = f"@{LIVE}.service.d/credentials.conf"
    ours = f"{srv.parent}/units/shop{suffix}"
    write_files(srv.parent / "units", {f"shop{suffix}": units_of(App("shop", shop), LIVE)[suffix]})
    overriding = f"/run/systemd/system/service.d/all.conf {ours} /etc/systemd/system/shop@.service.d/mine.conf"
    host(
        f"Id=nginx.service\nActiveState=active\nUnitFileState=enabled\n\n"
        f"Id=shop@{LIVE}.service\nActiveState=active\nMainPID=10\nNRestarts=3\nMemoryCurrent={64 * MIB}\n"
        f"DropInPaths={overriding}\nNeedDaemonReload=no\n\n"
        f"Id=shop@{LIVE}.socket\nActiveState=active\nNeedDaemonReload=yes\n\n"
        f"Id=shop@{OLD}.service\nActiveState=active\n\n"
        f"Id=shop@{NEW}.service\nActiveState=deactivating\n\n"
        f"Id=shop-retire-{OLD}.timer\nActiveState=active\nNextElapseUSecMonotonic={elapse:.6f}s\n"
    )
    asked: list[tuple[Target, Expectation]] = []
    answers = [Answer("by another", 200, "", OLD, 0.1), Answer("", 200, "", LIVE, 0.0123456)]

    def ask(target: Target, expected: Expectation, _timeout: float) -> Answer:
        asked.append((target, expected))
        return answers[len(asked) - 1]

    monkeypatch.setattr(_status, "ask", ask)
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    found = _status.look([settings], 8080, 8443)
    app = found["apps"][0]
    live = app["live"]
    assert (live["release"], live["by"], live["built_by"], live["fingerprint"]) == (LIVE, "alice@laptop", "bob@ci", "f")
    assert live["live_seconds"] == pytest.approx(90, abs=3)
    assert live["complete"] is True
    assert app["workers"] == {"running": 2, "release": 2}
    assert (app["memory"], app["restarts"]) == ({"mib": 64, "from": "cgroup"}, 3)
    assert len(asked) == 2, "NGINX may keep a connection to what was live for a moment"
    assert (asked[0][0].port, asked[0][1].release) == (8443, LIVE)
    url = "https://shop.example.com:8443/healthz"
    answer = {"ok": True, "url": url, "status": 200, "release": LIVE, "seconds": 0.0123, "problem": ""}
    assert app["health"] == answer
    assert app["standby"] == [{"release": OLD, "retires_in_seconds": pytest.approx(42, abs=2)}]
    assert (app["rollback"], app["stale"]) == ([OLD], []), "what stops at this moment is not stale"
    assert app["bad"] == [{"release": NEW, "reason": "it was slow"}]
    assert app["last_event"] == events[-1]
    assert app["history"] == list(reversed(events))[:10]
    rollout = {name: lock[name] for name in ("by", "control", "pid", "since")}
    assert app["rollout"] == {**rollout, "silent_seconds": 0, "dead": False}
    assert app["units"] == {
        "differ": [],
        "overridden": ["/etc/systemd/system/shop@.service.d/mine.conf"],
        "reload_needed": True,
    }
    nginx = found["nginx"]
    assert (nginx["installed"], nginx["active"], nginx["enabled"], nginx["problem"]) == (True, True, True, "")
    assert sorted(nginx["files"]) == [f"{tmp_path}/nginx/conf.d/shop.conf", f"{tmp_path}/nginx/nginx.conf"]


@pytest.mark.parametrize(
    ("content", "mode", "expected"),
    [
        (None, "selfsigned", (None, "there is no {}")),
        (b"nothing of the kind", "provided", (None, "{} cannot be read as a certificate")),
        (certificate_pem(a_key(), ["a.test"], first=-9, last=-2.5), "provided", (-3, "")),
        (certificate_pem(a_key(), ["a.test"], last=0.5), "provided", (0, "")),
    ],
)
def test_certificates(tmp_path: Path, content: bytes | None, mode: str, expected: tuple[int | None, str]) -> None:
    path = tmp_path / "a.crt"
    if content:
        path.write_bytes(content)
    found = _status._certificate({"tls": {"mode": mode, "certificate_path": str(path)}})  # noqa: SLF001
    assert (found["days_left"], found["problem"]) == (expected[0], expected[1].format(path))


def test_the_module(
    host: t.Callable[[str], None],
    settings: dict[str, t.Any],
    run_module: RunModule,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host("Id=nginx.service\nActiveState=active\nUnitFileState=enabled\n")
    monkeypatch.setattr("ansible_collections.paddock.fastapi.plugins.modules.status.facts", lambda: {"cpus": 2})
    found = run_module("status", {"apps": [settings]}, check=True)
    assert (found["changed"], found["ansible_facts"]) == (False, {"paddock": {"cpus": 2}})
    assert [app["app"] for app in found["apps"]] == ["shop"]
    assert found["nginx"]["active"] is True


def test_the_module_when_systemd_does_not_answer(
    settings: dict[str, t.Any], programs: Programs, srv: Path, run_module: RunModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert srv
    monkeypatch.setattr("ansible_collections.paddock.fastapi.plugins.modules.status.facts", dict)
    programs.add("systemctl", "echo no bus >&2; exit 1")
    found = run_module("status", {"apps": [settings]})
    assert found["failed"] is True
    assert found["msg"].endswith("no bus")
