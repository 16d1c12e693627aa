# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what status makes of what it found."""

from __future__ import annotations

import copy
import hashlib
import re
import typing as t

import pytest
from ansible_collections.paddock.fastapi.plugins.module_utils._audit import SUCCESS
from ansible_collections.paddock.fastapi.plugins.plugin_utils import _report
from ansible_collections.paddock.fastapi.tests.unit.helpers import LIVE, NEW, OLD, ROOT

CONF = "/etc/nginx/conf.d/shop.conf"
MAIN = "/etc/nginx/nginx.conf"
FILES = {CONF: "shop", MAIN: "main"}
DIGESTS = {path: hashlib.sha256(text.encode()).hexdigest() for path, text in FILES.items()}
APP: dict[str, t.Any] = {
    "app": "shop",
    "configured": True,
    "live": {
        "release": LIVE,
        "complete": True,
        "source": "/src/shop",
        "fingerprint": "f",
        "built_by": "alice@laptop",
        "age_seconds": 4000,
        "by": "alice@laptop",
        "live_seconds": 3 * 86400,
    },
    "running": True,
    "enabled": True,
    "workers": {"running": 2, "release": 2, "configured": 2},
    "limits": {
        "nofile": {"running": 65536, "configured": 65536, "used": 40},
        "tasks_max": {"running": 1024, "configured": 1024, "used": 9},
        "memory_high": {"running": None, "configured": None, "used": 143},
        "memory_max": {"running": 512, "configured": 512, "used": 143},
        "cpu_quota": {"running": None, "configured": None, "used": None},
    },
    "memory": {"mib": 143, "from": "cgroup"},
    "restarts": 0,
    "health": {
        "ok": True,
        "url": "https://shop.example.com:443/healthz",
        "status": 200,
        "release": LIVE,
        "seconds": 0.0042,
        "problem": "",
    },
    "certificate": {
        "mode": "selfsigned",
        "path": "/etc/ssl/paddock/shop.crt",
        "expires": "2027-11-22T00:00:00Z",
        "days_left": 364,
        "problem": "",
    },
    "standby": [],
    "rollback": [],
    "bad": [],
    "releases": [LIVE],
    "unfinished": [],
    "stale": [],
    "rollout": None,
    "last_event": None,
    "history": [],
    "units": {"differ": [], "overridden": [], "reload_needed": False},
    "drift": {"settings": False, "source": False, "source_unknown": "", "release": None},
    "size_problem": "",
}
HOST: dict[str, t.Any] = {
    "ansible_facts": {"paddock": {"nginx": "1.26.3"}},
    "nginx": {
        "installed": True,
        "active": True,
        "enabled": True,
        "unloaded": False,
        "problem": "",
        "files": DIGESTS,
    },
    "apps": [APP],
}
ROLLOUT = {
    "by": "bob@ci",
    "control": "ci 1",
    "pid": 4711,
    "since": "2026-11-22 15:40:42 UTC",
    "silent_seconds": 4,
    "dead": False,
}
EVENT = {
    "time": "2026-11-22T15:40:42Z",
    "app": "shop",
    "playbook": "deploy",
    "event": "did not pass",
    "result": "failure",
    "by": "bob@ci",
    "release": NEW,
    "before": OLD,
    "seconds": 12.3,
    "reason": "/healthz answered 500 instead of 200",
}


def changed(thing: dict[str, t.Any], *changes: tuple[str, t.Any]) -> dict[str, t.Any]:
    """Return a copy with some values changed, each named by its path."""
    copied = copy.deepcopy(thing)
    for path, value in changes:
        *folders, last = path.split(".")
        place = copied
        for folder in folders:
            place = place[folder]
        place[last] = value
    return copied


def told_of(*changes: tuple[str, t.Any], files: dict[str, str] | None = None) -> dict[str, t.Any]:
    """Return the document of one host, whose app is changed so."""
    host = {**HOST, "apps": [changed(APP, *changes)]}
    return _report.fleet({"web1": host}, {"web1": FILES if files is None else files}, 14)


def problems(part: dict[str, t.Any]) -> list[tuple[str, str]]:
    return [(entry["level"], entry["kind"]) for entry in part["problems"]]


def test_all_is_well() -> None:
    document = told_of()
    assert (document["version"], document["level"]) == (1, "ok")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", document["time"])
    host = document["hosts"][0]
    assert (host["host"], host["reachable"], host["level"], host["problems"]) == ("web1", True, "ok", [])
    assert host["apps"][0]["drift"]["nginx"] is False


@pytest.mark.parametrize(
    ("changes", "expected", "text"),
    [
        ([("configured", False)], ("warning", "not_in_inventory"), "and goes on as it is"),
        ([("live", None), ("drift", None), ("health", None)], ("warning", "not_deployed"), "not deployed yet"),
        ([("live.complete", False)], ("critical", "release"), "lacks its release.json"),
        ([("running", False)], ("critical", "not_running"), "does not run"),
        ([("enabled", False)], ("warning", "not_enabled"), "does not start at boot"),
        ([("health.ok", False), ("health.problem", "no answer")], ("critical", "health"), "healthz: no answer"),
        ([("workers.running", 1)], ("warning", "workers"), "1 of 2 workers run"),
        (
            [("workers.configured", 4)],
            ("warning", "workers"),
            "it has 2 workers; a new release on this host would have 4",
        ),
        (
            [("limits.nofile.running", 1024)],
            ("warning", "limits"),
            "its limits.nofile is 1024; a new release on this host would have 65536",
        ),
        (
            [("limits.memory_max.running", None)],
            ("warning", "limits"),
            "its limits.memory_max is not set; a new release on this host would have 512",
        ),
        (
            [("limits.cpu_quota.running", 50)],
            ("warning", "limits"),
            "its limits.cpu_quota is 50; a new release on this host would have none",
        ),
        (
            [("limits.nofile.used", 58983)],
            ("warning", "limits"),
            "a process of it has 58983 files open, and its limits.nofile is 65536",
        ),
        (
            [("limits.tasks_max.used", 1024)],
            ("warning", "limits"),
            "it runs 1024 processes and threads, and its limits.tasks_max is 1024",
        ),
        (
            [("limits.memory_max.used", 461)],
            ("warning", "limits"),
            "it uses 461 MiB of memory, and its limits.memory_max is 512",
        ),
        ([("size_problem", "too much")], ("warning", "sizes"), "too much"),
        ([("certificate.days_left", 13)], ("warning", "certificate"), "expires in 13 days"),
        ([("certificate.days_left", -1)], ("critical", "certificate"), "expired at 2027-11-22T00:00:00Z"),
        ([("certificate.problem", "there is none")], ("critical", "certificate"), "there is none"),
        ([("drift.settings", True)], ("warning", "settings"), "are not those of the live release"),
        (
            [("drift.settings", True), ("drift.release", OLD)],
            ("warning", "settings"),
            f"; release {OLD} is just what is configured",
        ),
        ([("drift.source", True)], ("warning", "source"), "is not that of the live release"),
        ([("units.differ", ["/x"])], ("warning", "units"), "/x is not as the live release brought it"),
        ([("units.overridden", ["/x"])], ("warning", "units"), "/x overrides its unit"),
        ([("units.reload_needed", True)], ("warning", "units"), "systemctl daemon-reload"),
        ([("stale", [OLD])], ("warning", "stale"), f"the instance of {OLD}"),
        ([("unfinished", [NEW])], ("warning", "unfinished"), f"the build of {NEW}"),
        (
            [("rollout", {**ROLLOUT, "dead": True})],
            ("warning", "interrupted"),
            "by bob@ci since 2026-11-22 15:40:42 UTC",
        ),
    ],
)
def test_what_can_be_wrong_with_an_app(changes: list[tuple[str, t.Any]], expected: tuple[str, str], text: str) -> None:
    document = told_of(*changes)
    app = document["hosts"][0]["apps"][0]
    assert problems(app) == [expected]
    assert _report.unwell(document, "warning") == ["web1 shop"]
    assert _report.unwell(document, "critical") == (["web1 shop"] if expected[0] == "critical" else [])
    assert text in app["problems"][0]["text"]
    assert app["level"] == document["hosts"][0]["level"] == document["level"] == expected[0]


@pytest.mark.parametrize(
    "changes",
    [
        [("certificate", None)],
        [("certificate.mode", "off"), ("certificate.days_left", None)],
        [("certificate.days_left", 14)],
        [("drift.settings", None), ("drift.source", None), ("drift.source_unknown", "it is in git")],
        [("workers.configured", None), ("limits.nofile.used", 58981), ("limits.memory_max.used", 460)],
        [("configured", True), ("running", True), ("limits.nofile.used", None)],
        [("workers.release", None)],
        # Its own work is what lies and runs beside the live release.
        [("rollout", ROLLOUT), ("stale", [NEW]), ("unfinished", [NEW])],
        [("standby", [{"release": OLD, "retires_in_seconds": 4}]), ("rollback", [OLD])],
        [("bad", [{"release": NEW, "reason": "slow"}])],
    ],
)
def test_what_is_not_wrong(changes: list[tuple[str, t.Any]]) -> None:
    assert told_of(*changes)["level"] == "ok"


@pytest.mark.parametrize(
    ("live", "changes", "expected"),
    [
        (True, [("nginx.installed", False)], [("critical", "nginx")]),
        (False, [("nginx.installed", False)], [("warning", "nginx")]),
        (True, [("nginx.active", False)], [("critical", "nginx")]),
        (False, [("nginx.active", False)], [("warning", "nginx")]),
        (True, [("nginx.enabled", False)], [("warning", "nginx")]),
        (True, [("nginx.problem", "emerg")], [("warning", "nginx")]),
        (True, [("nginx.unloaded", True)], [("warning", "nginx")]),
        (True, [("nginx.files", {CONF: DIGESTS[CONF], MAIN: "x"})], [("warning", "nginx_file")]),
        (True, [("nginx.files", {CONF: DIGESTS[CONF]})], [("warning", "nginx_file")]),
    ],
)
def test_what_can_be_wrong_with_nginx(
    live: bool,  # noqa: FBT001
    changes: list[tuple[str, t.Any]],
    expected: list[tuple[str, str]],
) -> None:
    app = APP if live else changed(APP, ("live", None), ("drift", None))
    document = _report.fleet({"web1": changed({**HOST, "apps": [app]}, *changes)}, {"web1": FILES}, 14)
    assert problems(document["hosts"][0]) == expected


@pytest.mark.parametrize(("digest", "differs"), [(DIGESTS[CONF], False), ("other", True), (None, True)])
def test_a_site_that_is_not_as_the_role_would_write_it(digest: str | None, differs: bool) -> None:  # noqa: FBT001
    files = {MAIN: DIGESTS[MAIN]} | ({CONF: digest} if digest else {})
    document = _report.fleet({"web1": changed(HOST, ("nginx.files", files))}, {"web1": FILES}, 14)
    app = document["hosts"][0]["apps"][0]
    assert app["drift"]["nginx"] is differs
    assert problems(app) == ([("warning", "nginx_file")] if differs else [])


def test_what_the_files_should_be_may_not_be_known() -> None:
    document = told_of(files={})
    assert (document["level"], document["hosts"][0]["apps"][0]["drift"]["nginx"]) == ("ok", None)


@pytest.mark.parametrize(
    ("result", "reachable", "kind", "text"),
    [
        ({"unreachable": True, "msg": "no route\nat all"}, False, "unreachable", "no route\nat all"),
        ({"failed": True, "msg": "this host runs FreeBSD"}, True, "failed", "this host runs FreeBSD"),
        ({}, True, "failed", "it was not asked"),
    ],
)
def test_hosts_that_say_nothing(result: dict[str, t.Any], reachable: bool, kind: str, text: str) -> None:  # noqa: FBT001
    document = _report.fleet({"web1": HOST, "web2": result}, {}, 14)
    host = document["hosts"][1]
    assert (document["level"], host["level"], host["reachable"]) == ("critical", "critical", reachable)
    told = {"level": "critical", "kind": kind, "text": text, "remedy": _report.REMEDIES[kind]}
    assert host["problems"] == [told]
    assert _report.summary(document) == "2 hosts, 1 app: 1 critical"
    assert _report.unwell(document, "critical") == ["web2"]


def test_the_table() -> None:
    crashed = changed(
        APP,
        ("app", "blog"),
        ("running", False),
        ("health.ok", False),
        ("health.problem", "/healthz answered 502\nlong"),
        ("certificate.mode", "off"),
        ("memory", None),
        ("restarts", None),
        ("standby", [{"release": OLD, "retires_in_seconds": 42}]),
        ("rollback", [OLD]),
        ("bad", [{"release": NEW, "reason": "it did not pass\nits gate"}]),
        ("rollout", ROLLOUT),
        ("history", [EVENT, {**EVENT, "event": "switched", "reason": "", "seconds": 240}, EVENT, EVENT]),
    )
    bare = changed(APP, ("app", "new"), ("live", None), ("drift", None), ("certificate.days_left", None))
    hosts = {
        "web1": {**HOST, "apps": [APP, crashed]},
        "web2": changed({**HOST, "apps": [bare]}, ("nginx.installed", False), ("nginx.active", False)),
        "web3": {"unreachable": True, "msg": "no route"},
    }
    url = "https://shop.example.com:443/healthz"
    release = f"{LIVE}  3 d  alice@laptop"
    head = "STATE     HOST  APP   LIVE RELEASE                   FOR  BY            WORKERS  MEMORY   RESTARTS  "
    assert _report.table(_report.fleet(hosts, {}, 14)) == [
        f"{head}HEALTH    CERTIFICATE        NGINX",
        f"ok        web1  shop  {release}  2/2      143 MiB  0         ok, 4 ms  364 d, selfsigned  active",
        f"critical  web1  blog  {release}  2/2      -        -         failing   off                active",
        "    critical: its service or its socket does not run",
        f"    critical: {url}: /healthz answered 502",
        "    rollout: by bob@ci (process 4711 there) since 2026-11-22 15:40:42 UTC",
        f"    standby: {OLD}, retires in 42 s",
        f"    can go back to: {OLD}",
        f"    bad: {NEW}, it did not pass",
        f"    history: 2026-11-22T15:40:42Z {NEW} did not pass its gate after 12 s, by bob@ci: "
        "/healthz answered 500 instead of 200",
        f"    history: 2026-11-22T15:40:42Z switched to {NEW} after 4 min, by bob@ci",
        f"    history: 2026-11-22T15:40:42Z {NEW} did not pass its gate after 12 s, by bob@ci: "
        "/healthz answered 500 instead of 200",
        "warning   web2  new   none                           -    -             -        -        -         -         "
        "? d, selfsigned    missing",
        "    warning: NGINX is not installed; run site",
        "    warning: it is not deployed yet",
        "critical  web3  -     unreachable                    -    -             -        -        -         -         "
        "-                  -",
        "    critical: no route",
        "",
        "3 hosts, 3 apps: 3 critical, 2 warning",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (172800, "2 d")],
)
def test_spans(seconds: float | None, text: str) -> None:
    assert _report.span(seconds) == text


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, f"{NEW} did not pass its gate after 12 s, by bob@ci: /healthz answered 500 instead of 200"),
        ({"event": "failed", "reason": "no disk"}, f"{NEW} failed after 12 s, by bob@ci: no disk"),
        ({"event": "switched", "reason": "", "seconds": 300}, f"switched to {NEW} after 5 min, by bob@ci"),
        ({"event": "rolled back", "reason": "", "seconds": None, "by": None}, f"rolled back to {NEW}"),
        ({"event": "went back", "release": None, "reason": "x"}, "went back to nothing after 12 s, by bob@ci: x"),
    ],
)
def test_events_in_words(changes: dict[str, t.Any], line: str) -> None:
    lines = _report.table(told_of(("history", [{**EVENT, **changes}])))
    assert f"    history: 2026-11-22T15:40:42Z {line}" in lines


def test_every_event_can_be_told() -> None:
    for event in SUCCESS:
        assert "history: " in "\n".join(_report.table(told_of(("history", [{**EVENT, "event": event}]))))


def paths(value: t.Any, prefix: str = "") -> set[str]:
    """Return the paths of all values of a document."""
    if isinstance(value, dict):
        return {path for key, inner in value.items() for path in paths(inner, f"{prefix}.{key}" if prefix else key)}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return paths(value[0], f"{prefix}[]")
    return {prefix}


def test_every_key_is_documented_and_no_other() -> None:
    full = [
        ("running", False),
        ("standby", [{"release": OLD, "retires_in_seconds": 4}]),
        ("bad", [{"release": OLD, "reason": "x"}]),
        ("rollout", ROLLOUT),
        ("last_event", EVENT),
        ("history", [EVENT]),
    ]
    host = changed({**HOST, "apps": [changed(APP, *full)]}, ("nginx.enabled", False))
    document = _report.fleet({"web1": host}, {"web1": FILES}, 14)
    text = (ROOT / "docs/status.md").read_text(encoding="utf-8")
    sections = {"document": "", "host": "hosts[].", "app": "hosts[].apps[]."}
    documented = set()
    for name, prefix in sections.items():
        part = re.search(rf"^\| key of (?:the|an?) {name} \|.*?(?=\n\n)", text, re.MULTILINE | re.DOTALL)
        assert part, name
        documented |= {prefix + key for key in re.findall(r"^\| `([^`]+)` \|", part.group(0), re.MULTILINE)}
    # The lists themselves are told of, by what is in them.
    assert documented == {re.sub(r"\.limits\.\w+\.", ".limits.NAME.", path) for path in paths(document)}
    kinds = set(
        re.findall(r'_problem\((?:\([^)]*\)|[^,]+), "(\w+)"', (ROOT / "plugins/plugin_utils/_report.py").read_text())
    )
    kinds |= {"unreachable", "failed"}
    assert set(_report.REMEDIES) == kinds
    told = re.search(r"^\| kind \|.*?(?=\n\n)", text, re.MULTILINE | re.DOTALL)
    assert told
    assert set(re.findall(r"^\| `(\w+)` \|", told.group(0), re.MULTILINE)) == kinds
