# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the modules that deal with releases and instances, with systemd's tools as scripts."""

from __future__ import annotations

import grp
import json
import os
import platform
import resource
import signal
import subprocess
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.paddock.fastapi.plugins.module_utils import _instance, _nginx
from ansible_collections.paddock.fastapi.plugins.module_utils._audit import events, record
from ansible_collections.paddock.fastapi.plugins.module_utils._build import Build, BuildError
from ansible_collections.paddock.fastapi.plugins.module_utils._host import app_states
from ansible_collections.paddock.fastapi.plugins.module_utils._layout import App, rollback_targets
from ansible_collections.paddock.fastapi.plugins.module_utils._lock import take
from ansible_collections.paddock.fastapi.plugins.module_utils._probe import Answer
from ansible_collections.paddock.fastapi.plugins.modules import health_check, host_facts, remove, switch
from ansible_collections.paddock.fastapi.tests.unit.helpers import (
    AS_ROOT,
    LIVE,
    NEW,
    OLD,
    Programs,
    RunModule,
    enable_units,
    release_folder,
    write_files,
)

GROUP = 12345 if AS_ROOT else os.getgid()


@pytest.fixture(autouse=True)
def _group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grp, "getgrnam", lambda name: grp.struct_group((name, "x", GROUP, [])))


def systemctl(programs: Programs, units: dict[str, str] | None = None, more: str = "") -> None:
    """Have systemctl show these units. more: what else it does."""
    blocks = "".join(
        f"Id={unit}\\nActiveState={state.split()[0]}\\nUnitFileState={state.split()[1]}\\nNRestarts=0\\n\\n"
        for unit, state in (units or {}).items()
    )
    programs.add("systemctl", f"{more}\ncase $1 in show) printf '{blocks}' ;; esac")


def changes(programs: Programs) -> list[str]:
    """List the calls that changed something."""
    return [call for call in programs.calls if not call.startswith(("systemctl show", "journalctl"))]


def both(release: str, state: str) -> dict[str, str]:
    return {f"shop@{release}.socket": state, f"shop@{release}.service": state}


def unit_names(release: str) -> str:
    return f"shop@{release}.socket shop@{release}.service"


# -- host_facts -----------------------------------------------------------------------------------------------------


def test_host_facts(programs: Programs, srv: Path, run_module: RunModule, monkeypatch: pytest.MonkeyPatch) -> None:
    assert srv
    systemctl(programs)
    monkeypatch.setattr(host_facts, "facts", lambda: {"cpus": 2})
    found = run_module("host_facts", {"apps": ["shop"], "interpreters": ["python3", "python0"]}, check=True)
    assert found["changed"] is False
    facts = found["ansible_facts"]["paddock"]
    assert facts["cpus"] == 2
    assert facts["apps"]["shop"]["live"] is None
    assert facts["interpreters"]["python0"] == ""
    assert facts["interpreters"]["python3"].startswith("3.")


def test_host_facts_of_another_system(run_module: RunModule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "FreeBSD")
    found = run_module("host_facts", {})
    assert found == {"failed": True, "msg": "this host runs FreeBSD; apps can only be deployed to Linux"}


# -- release --------------------------------------------------------------------------------------------------------


def release_arguments(srv: Path) -> dict[str, t.Any]:
    app = {
        "name": "shop",
        "root": str(srv / "shop"),
        "release": NEW,
        "user": "shop",
        "python": "python3",
        "digest": "cccccccccccc",
        "module": "shop.main:app",
        "server": "gunicorn",
        "packed": {"install": {"method": "project"}, "kind": "directory", "described": "/src", "fingerprint": "f"},
    }
    sent = {"archive": "/a", "environment": "/e", "credentials_file": "/c", "server_requirements": "/s"}
    return {"app": app, "uv": "/uv", **sent}


def test_release_builds(srv: Path, run_module: RunModule, monkeypatch: pytest.MonkeyPatch) -> None:
    release_folder(srv / "shop", LIVE)
    (srv / "shop/current").symlink_to(f"releases/{LIVE}")
    built: list[Build] = []

    def run(build: Build) -> None:
        built.append(build)
        build.seconds["unpack"] = 0.5

    monkeypatch.setattr(Build, "run", run)
    found = run_module("release", release_arguments(srv))
    assert (found["failed"], found["changed"], found["release"]) == (False, True, NEW)
    assert found["seconds"] == {"unpack": 0.5}
    assert found["path"] == f"{srv}/shop/releases/{NEW}"
    assert (found["diff"]["before"], found["diff"]["after"]) == (f"{LIVE} test\n", f"{NEW} /src\n")
    assert (built[0].archive, built[0].group, built[0].cache) == (Path("/a"), GROUP, Path("/var/cache/paddock/uv"))
    assert built[0].metadata == {
        "app": "shop",
        "id": NEW,
        "digest": "cccccccccccc",
        "kind": "directory",
        "source": "/src",
        "fingerprint": "f",
        "module": "shop.main:app",
        "server": "gunicorn",
        "by": "",
    }


def test_release_in_check_mode(srv: Path, run_module: RunModule) -> None:
    arguments = release_arguments(srv)
    for name in ("archive", "environment", "credentials_file", "server_requirements"):
        del arguments[name]
    found = run_module("release", arguments, check=True)
    assert (found["failed"], found["changed"], found["diff"]["before"]) == (False, True, "")
    assert os.listdir(srv / "shop/releases") == []


@pytest.mark.parametrize("check", [True, False])
def test_release_that_lies_there(srv: Path, run_module: RunModule, *, check: bool) -> None:
    release_folder(srv / "shop", NEW)
    found = run_module("release", release_arguments(srv), check=check)
    assert found == {"failed": False, "changed": False, "release": NEW, "path": f"{srv}/shop/releases/{NEW}"}


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (BuildError("it failed\nHint: …"), "app shop: it failed\nHint: …"),
        (OSError(28, "No space left on device"), "app shop: [Errno 28] No space left on device"),
    ],
)
def test_release_that_fails(
    srv: Path, run_module: RunModule, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def run(_build: Build) -> None:
        raise error

    monkeypatch.setattr(Build, "run", run)
    assert run_module("release", release_arguments(srv)) == {"failed": True, "msg": message}
    assert [(entry["event"], entry["release"]) for entry in events(App("shop", srv / "shop"))] == [("failed", NEW)]


# -- instance -------------------------------------------------------------------------------------------------------


@pytest.fixture
def units(tmp_path: Path, srv: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    assert srv
    monkeypatch.setattr(_instance, "UNITS", tmp_path / "units")
    return tmp_path / "units"


START = {
    "app": "shop",
    "release": NEW,
    "files": {"run": "#!/bin/sh\n", "gunicorn.conf.py": "x\n"},
    "units": {"@.service": "[Service]\n", "@.socket": "[Socket]\n"},
}


def test_instance_starts(programs: Programs, srv: Path, units: Path, run_module: RunModule) -> None:
    folder = release_folder(srv / "shop", NEW)
    systemctl(programs, both(NEW, "inactive disabled"))
    found = run_module("instance", START)
    assert (found["failed"], found["changed"], found["units"]) == (False, True, unit_names(NEW).split())
    assert [entry["after_header"] for entry in found["diff"]] == [
        str(units / f"shop@.{kind}") for kind in ("service", "socket")
    ]
    assert (units / "shop@.service").read_text() == (folder / "units/@.service").read_text() == "[Service]\n"
    assert (folder / "run").stat().st_mode & 0o7777 == 0o750
    assert (folder / "gunicorn.conf.py").stat().st_mode & 0o7777 == 0o640
    assert (folder / "run").stat().st_gid == GROUP
    assert changes(programs) == [
        # Not enabled: at boot only what is live comes up, and it is not that yet.
        "systemctl daemon-reload",
        f"systemctl start {unit_names(NEW)}",
    ]


def test_instance_that_runs_is_left_alone(programs: Programs, srv: Path, units: Path, run_module: RunModule) -> None:
    release_folder(srv / "shop", NEW)
    for suffix, text in START["units"].items():  # type: ignore[attr-defined]
        (units / f"shop{suffix}").write_text(text)
    systemctl(programs, both(NEW, "active enabled"))
    found = run_module("instance", START)
    assert (found["changed"], found["diff"]) == (False, [])
    assert changes(programs) == []


def give_credentials(folder: Path, *names: str) -> None:
    (folder / "credentials").mkdir()
    for name in names:
        (folder / "credentials" / name).write_text("geheim")


def test_an_instance_has_the_credentials_of_its_release(
    programs: Programs, srv: Path, units: Path, run_module: RunModule
) -> None:
    folder = release_folder(srv / "shop", NEW)
    give_credentials(folder, "token", "api.key")
    give_credentials(release_folder(srv / "shop", LIVE), "other")
    systemctl(programs, both(NEW, "inactive disabled"))
    found = run_module("instance", START)
    assert (found["failed"], "geheim" in str(found)) == (False, False)
    drop_in = units / f"shop@{NEW}.service.d/credentials.conf"
    assert drop_in.read_text().splitlines()[1:] == [
        "[Service]",
        f"LoadCredential=api.key:{folder}/credentials/api.key",
        f"LoadCredential=token:{folder}/credentials/token",
    ]
    assert changes(programs)[-2:] == ["systemctl daemon-reload", f"systemctl start {unit_names(NEW)}"]
    assert "credential" not in (units / "shop@.service").read_text().lower(), "the unit is that of other releases too"
    run_module("instance", START)
    assert changes(programs).count("systemctl daemon-reload") == 2, "once for the app's units, once for its own"


@pytest.mark.parametrize("named", [True, False])
def test_an_instance_without_credentials_has_no_file_of_its_own(
    programs: Programs, srv: Path, units: Path, run_module: RunModule, *, named: bool
) -> None:
    folder = release_folder(srv / "shop", NEW)
    if named:
        give_credentials(folder)
    systemctl(programs, both(NEW, "inactive disabled"))
    run_module("instance", START)
    assert sorted(path.name for path in units.iterdir()) == ["shop@.service", "shop@.socket"]


def test_instance_that_failed_is_forgiven_before_it_starts(
    programs: Programs, srv: Path, units: Path, run_module: RunModule
) -> None:
    assert units
    release_folder(srv / "shop", NEW)
    systemctl(programs, both(NEW, "failed enabled"))
    assert run_module("instance", {"app": "shop", "release": NEW})["changed"] is True
    assert changes(programs) == [f"systemctl reset-failed {unit_names(NEW)}", f"systemctl start {unit_names(NEW)}"]


def test_instance_in_check_mode(programs: Programs, srv: Path, units: Path, run_module: RunModule) -> None:
    assert srv
    systemctl(programs)
    found = run_module("instance", START, check=True)
    assert (found["changed"], len(found["diff"])) == (True, 2)
    assert os.listdir(units) == []
    assert programs.calls == []


def test_instance_that_cannot_start(programs: Programs, srv: Path, units: Path, run_module: RunModule) -> None:
    assert units
    release_folder(srv / "shop", NEW)
    systemctl(programs, both(NEW, "inactive enabled"), 'case $1 in start) echo "Job failed." >&2; exit 1 ;; esac')
    found = run_module("instance", {"app": "shop", "release": NEW})
    assert found["failed"]
    assert found["msg"] == (
        f"app shop: the instance of {NEW} cannot be started: systemctl start {unit_names(NEW)}: Job failed."
    )
    logged = events(App("shop", srv / "shop"))
    assert [(entry["event"], entry["release"], entry["before"]) for entry in logged] == [("failed", NEW, None)]


def test_instance_of_a_release_that_is_not_there(programs: Programs, units: Path, run_module: RunModule) -> None:
    assert units
    systemctl(programs)
    assert run_module("instance", START)["msg"] == f"app shop: there is no release {NEW} on this host; build it first"
    assert list(units.iterdir()) == []


def test_instance_goes_and_the_live_units_come_back(
    programs: Programs, srv: Path, units: Path, run_module: RunModule
) -> None:
    kept = release_folder(srv / "shop", LIVE) / "units"
    kept.mkdir()
    (kept / "@.service").write_text("[Live]\n")
    (srv / "shop/current").symlink_to(f"releases/{LIVE}")
    (units / "shop@.service").write_text("[New]\n")
    systemctl(programs, both(NEW, "failed enabled"))
    arguments = {"app": "shop", "release": NEW, "state": "absent"}
    assert run_module("instance", arguments, check=True)["changed"] is True
    assert changes(programs) == []
    assert run_module("instance", arguments)["changed"] is True
    assert (units / "shop@.service").read_text() == "[Live]\n"
    assert changes(programs) == [
        f"systemctl disable --quiet --now {unit_names(NEW)}",
        f"systemctl reset-failed {unit_names(NEW)}",
        "systemctl daemon-reload",
    ]


def test_instance_that_is_gone(programs: Programs, units: Path, run_module: RunModule) -> None:
    assert units
    systemctl(programs, both(NEW, "inactive disabled"))
    assert run_module("instance", {"app": "shop", "release": NEW, "state": "absent"})["changed"] is False
    assert changes(programs) == []


def test_the_live_instance_is_not_removed(programs: Programs, srv: Path, units: Path, run_module: RunModule) -> None:
    assert units
    (srv / "shop/current").symlink_to(f"releases/{NEW}")
    systemctl(programs)
    found = run_module("instance", {"app": "shop", "release": NEW, "state": "absent"})
    assert found["msg"] == f"app shop: {NEW} is live; switch to another release first"
    assert programs.calls == []


# -- health_check and switch ----------------------------------------------------------------------------------------

Asked = list[dict[str, t.Any]]


def answering(
    monkeypatch: pytest.MonkeyPatch, module: t.Any, answer: Answer, *, healthy: bool = False, requests: int = 3
) -> Asked:
    asked: Asked = []

    def until_healthy(target: t.Any, expected: t.Any, **options: t.Any) -> tuple[bool, int, Answer]:
        asked.append({"target": target, "expected": expected, **options})
        return healthy, requests, answer

    monkeypatch.setattr(module, "until_healthy", until_healthy)
    return asked


def test_health_check_passes(
    programs: Programs, srv: Path, run_module: RunModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert srv
    systemctl(programs)
    asked = answering(monkeypatch, health_check, Answer("", 200, "ok", NEW), healthy=True)
    found = run_module(
        "health_check",
        {
            "app": "shop",
            "release": NEW,
            "socket": "/run/a.sock",
            "host": "shop.example.com",
            "successes": 2,
            "timeout": 7,
            "health": {"path": "/up", "public_path": "/api/up", "status": 204, "contains": "ok"},
        },
    )
    assert found == {
        "failed": False,
        "changed": False,
        "requests": 3,
        "answer": {"status": 200, "body": "ok", "release": NEW, "problem": ""},
    }
    assert (asked[0]["timeout"], asked[0]["successes"]) == (7, 2)
    assert str(asked[0]["target"]) == "unix:/run/a.sock"
    expected = asked[0]["expected"]
    assert (expected.path, expected.status, expected.contains, expected.release) == ("/up", 204, "ok", NEW)
    assert asked[0]["give_up"](Answer()) == ""


EXPECTS = {
    "pattern": "^ok",
    "json": {"status": "ok"},
    "headers": {"ETag": None},
    "max_seconds": 0.5,
    "status": 200,
    "contains": None,
}


@pytest.mark.parametrize("root_path", ["", "/api"])
@pytest.mark.parametrize("runs", [True, False])
def test_whatever_is_wanted_of_health_is_wanted_at_the_gate_and_in_public(
    programs: Programs, app: App, run_module: RunModule, monkeypatch: pytest.MonkeyPatch, root_path: str, *, runs: bool
) -> None:
    assert NEW in app.complete()
    systemctl(programs, both(NEW, "active enabled" if runs else "inactive disabled"))
    asked = [answering(monkeypatch, module, Answer(), healthy=True) for module in (health_check, switch)]
    health = {"path": "/up", "public_path": f"{root_path}/up", "successes": 3, **EXPECTS}
    common = {"app": "shop", "release": NEW, "host": "a.example", "health": health}
    run_module("health_check", {**common, "socket": "/run/a.sock"})
    run_module("health_check", {**common, "family": "ipv6"})
    run_module("switch", common)
    made = [*asked[0], *asked[1]]
    # What does not run is gated again before the switch.
    paths = ["/up", f"{root_path}/up", *([] if runs else ["/up"]), f"{root_path}/up"]
    assert [each["expected"].path for each in made] == paths
    for each in made:
        assert {name: getattr(each["expected"], name) for name in EXPECTS} == EXPECTS
        assert each["expected"].release == NEW
    assert asked[0][1]["target"].family == "ipv6"
    assert [each["successes"] for each in asked[1]] == [*([] if runs else [3]), 5]


@pytest.mark.parametrize("name", ["health_check", "switch"])
def test_mistakes_in_what_is_wanted_of_health_are_named(
    programs: Programs, app: App, run_module: RunModule, name: str
) -> None:
    systemctl(programs)
    wrong = {"patern": "ok", "pattern": "(", "json": {"a..b": 1}}
    found = run_module(name, {"app": "shop", "release": NEW, "host": "a.example", "health": wrong})
    assert found["failed"]
    for option, message in (
        ("patern", "unknown option; did you mean 'pattern'?"),
        ("pattern", "'(' is no regular expression"),
        ("json", "'a..b' is no path to a value"),
    ):
        assert f"app shop: health.{option}: {message}" in found["msg"]
    assert app.live() is None
    assert changes(programs) == []


class Serving:
    """An instance of Gunicorn: a real process, and one that stands for its worker."""

    def __init__(self, programs: Programs, app: App) -> None:
        (app.release(NEW) / "release.json").write_text('{"server": "gunicorn"}')
        # The shell runs the worker beside itself, and ends with its input.
        script = "while :; do sleep 60 & echo $!; read -r _ || exit; kill $!; wait; done"
        self.main = subprocess.Popen(
            ["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._wait()
        show = "".join(
            f"Id={unit}\\nActiveState=active\\nUnitFileState=enabled\\nMainPID={self.main.pid}\\n\\n"
            for unit in both(NEW, "")
        )
        programs.add("systemctl", f"case $1 in show) printf '{show}' ;; esac")
        programs.add("journalctl", "echo 'the last line'")

    def _wait(self) -> None:
        assert self.main.stdout
        assert self.main.stdout.readline()

    def lose_a_worker(self) -> None:
        assert self.main.stdin
        self.main.stdin.write("\n")
        self.main.stdin.flush()
        self._wait()

    def end(self) -> None:
        os.killpg(self.main.pid, signal.SIGKILL)
        self.main.communicate()


@pytest.fixture
def serving(programs: Programs, app: App) -> Iterator[Serving]:
    made = Serving(programs, app)
    yield made
    made.end()


@pytest.mark.parametrize("more", [0, 1])
def test_what_was_given_fewer_files_does_not_pass_its_gate(
    serving: Serving, app: App, run_module: RunModule, monkeypatch: pytest.MonkeyPatch, more: int
) -> None:
    assert serving
    answering(monkeypatch, health_check, Answer("", 200, "ok", NEW), healthy=True)
    given, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    gate = {"app": "shop", "release": NEW, "host": "a.example", "nofile": given + more}
    found = run_module("health_check", {**gate, "socket": str(app.socket(NEW))})
    assert found["failed"] is bool(more)
    asked = f"app shop: limits.nofile: {given + 1} was asked for, and systemd gave {given}; this host allows "
    assert not more or found["msg"].startswith(asked)


@pytest.mark.parametrize("ends", [False, True])
def test_what_ended_after_its_gate_is_not_switched_to(
    serving: Serving, app: App, run_module: RunModule, monkeypatch: pytest.MonkeyPatch, *, ends: bool
) -> None:
    app.point_current(LIVE)
    answering(monkeypatch, health_check, Answer("", 200, "ok", NEW), healthy=True)
    answering(monkeypatch, switch, Answer("", 200, "ok", NEW), healthy=True)
    gate = {"app": "shop", "release": NEW, "host": "a.example"}
    assert run_module("health_check", {**gate, "socket": str(app.socket(NEW))})["failed"] is False
    if ends:
        serving.lose_a_worker()
    found = run_module("switch", SWITCH)
    assert (found["failed"], found["changed"], found["live"]) == (ends, not ends, LIVE if ends else NEW)
    assert app.live() == found["live"]
    if ends:
        assert found["msg"] == (
            f"app shop: cannot switch to {NEW}: its instance ended after it had passed the gate\n"
            f"Last lines of shop@{NEW}.service:\n  the last line"
        )
        assert app.marks()[1] == {NEW: "its instance ended after it had passed the gate"}
    else:
        # It is live: from now on a worker may come and go.
        serving.lose_a_worker()
        assert run_module("switch", SWITCH)["failed"] is False


def test_health_check_fails_with_the_reason_first(
    programs: Programs, srv: Path, run_module: RunModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    (srv / "shop/current").symlink_to(f"releases/{LIVE}")
    systemctl(programs)
    programs.add("journalctl", "echo \"KeyError: 'SECRET_KEY'\"")
    answering(monkeypatch, health_check, Answer("/healthz answered 404 instead of 200", 404, "Not\n  found", LIVE))
    found = run_module("health_check", {"app": "shop", "host": "shop.example.com", "certificate": "/a.crt"})
    assert found["failed"]
    assert found["requests"] == 3
    assert found["msg"] == (
        f"app shop: release {LIVE} is not healthy over https://shop.example.com: /healthz answered 404 instead of 200\n"
        "Its answer: Not found\n"
        "Hint: the app has no such path; set health.path to one that answers when the app can serve.\n"
        "Hint: the app wants the environment variable SECRET_KEY: set it in the app's option env.\n"
        f"Last lines of shop@{LIVE}.service:\n"
        "  KeyError: 'SECRET_KEY'"
    )


def test_health_check_of_an_app_without_a_release(
    programs: Programs, srv: Path, run_module: RunModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert srv
    systemctl(programs, more='case "$*" in *"shop@.service"*) echo "missing the instance name" >&2; exit 1 ;; esac')
    asked = answering(monkeypatch, health_check, Answer("ConnectionRefusedError"))
    found = run_module("health_check", {"app": "shop", "host": "shop.example.com", "port": 80})
    assert found["msg"] == (
        "app shop: release none is not healthy over http://shop.example.com: ConnectionRefusedError"
    )
    assert asked[0]["give_up"] is None


def test_health_check_gives_up_on_an_instance_that_dies(
    programs: Programs, srv: Path, run_module: RunModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert srv
    counter = srv / "restarts"
    counter.write_text("7")
    programs.add("systemctl", f'printf "Id=shop@{NEW}.service\\nNRestarts=$(cat {counter})\\n"')
    asked = answering(monkeypatch, health_check, Answer("", 200, "", NEW), healthy=True)
    run_module("health_check", {"app": "shop", "release": NEW, "host": "a.example"})
    counter.write_text("8")
    assert asked[0]["give_up"](Answer()) == ""
    counter.write_text("9")
    assert asked[0]["give_up"](Answer()) == "the instance ended 2 times while it started"


def test_health_check_asks_nothing_in_check_mode(programs: Programs, run_module: RunModule) -> None:
    found = run_module("health_check", {"app": "shop", "host": "a.example"}, check=True)
    assert found == {"failed": False, "changed": False}
    assert programs.calls == []


SWITCH = {"app": "shop", "release": NEW, "host": "shop.example.com", "certificate": "/a.crt"}


@pytest.fixture
def app(srv: Path, units: Path) -> App:
    assert units
    for release in (LIVE, NEW):
        # Without a process that could have ended since.
        (release_folder(srv / "shop", release) / "gated").write_text("[]")
    return App("shop", srv / "shop")


def test_switch(
    programs: Programs, app: App, run_module: RunModule, monkeypatch: pytest.MonkeyPatch, units: Path
) -> None:
    app.point_current(LIVE)
    enable_units(units, *both(LIVE, ""))
    systemctl(programs)
    asked = answering(monkeypatch, switch, Answer("", 200, "", NEW), healthy=True, requests=5)
    found = run_module("switch", SWITCH)
    assert (found["failed"], found["changed"], found["before"], found["live"]) == (False, True, LIVE, NEW)
    assert found["requests"] == 5
    assert app.live() == NEW
    assert changes(programs) == [
        f"systemctl enable --quiet {unit_names(NEW)}",
        f"systemctl disable --quiet {unit_names(LIVE)}",
    ]
    assert (asked[0]["expected"].release, asked[0]["successes"], asked[0]["timeout"]) == (NEW, 5, 20)
    assert str(asked[0]["target"]) == "https://shop.example.com:443"


def test_switch_to_a_standby_that_is_about_to_retire_keeps_it(
    programs: Programs, app: App, run_module: RunModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.point_current(LIVE)
    timer = f"shop-retire-{NEW}.timer"
    systemctl(programs, {**both(NEW, "active enabled"), timer: "active enabled"})
    asked = answering(monkeypatch, switch, Answer("", 200, "", NEW), healthy=True)
    assert run_module("switch", SWITCH)["live"] == NEW
    assert changes(programs)[0] == f"systemctl stop {timer}"
    assert len(asked) == 1


@pytest.mark.parametrize("healthy", [True, False])
def test_switch_to_an_instance_that_has_retired_gates_it_first(
    programs: Programs, app: App, run_module: RunModule, monkeypatch: pytest.MonkeyPatch, *, healthy: bool
) -> None:
    app.point_current(LIVE)
    systemctl(programs, both(NEW, "inactive disabled"))
    programs.add("journalctl", "echo 'the last line'")
    asked = answering(monkeypatch, switch, Answer("" if healthy else "no answer", 200, "", NEW), healthy=healthy)
    found = run_module("switch", SWITCH)
    assert str(asked[0]["target"]) == f"unix:{app.socket(NEW)}"
    assert len(asked) == (2 if healthy else 1)
    assert app.live() == found["live"] == (NEW if healthy else LIVE)
    if not healthy:
        assert found["msg"].startswith(f"app shop: cannot switch to {NEW}: over its own socket, no answer")


@pytest.mark.parametrize("enabled", [0, 1, 2])
def test_switch_to_what_is_live_proves_it_again(
    programs: Programs, app: App, run_module: RunModule, monkeypatch: pytest.MonkeyPatch, units: Path, enabled: int
) -> None:
    app.point_current(NEW)
    enable_units(units, *list(both(NEW, ""))[:enabled])
    systemctl(programs)
    asked = answering(monkeypatch, switch, Answer(), healthy=True)
    assert run_module("switch", SWITCH)["changed"] is False
    assert len(asked) == 1
    assert changes(programs) == ([] if enabled == 2 else [f"systemctl enable --quiet {unit_names(NEW)}"])


@pytest.mark.parametrize("state", ["live", "absent"])
@pytest.mark.parametrize("undone", [True, False])
def test_what_was_live_until_another_host_failed_is_nothing_to_go_back_to(
    serving: Serving, app: App, run_module: RunModule, monkeypatch: pytest.MonkeyPatch, state: str, *, undone: bool
) -> None:
    assert serving
    app.point_current(LIVE)
    app.mark_proven(LIVE)
    answering(monkeypatch, switch, Answer("", 200, "", NEW), healthy=True)
    going = {**SWITCH, "reason": "web2: no" if undone else ""}
    run_module("switch", going if state == "live" else {**going, "release": LIVE, "state": "absent"})
    assert app.live() == (NEW if state == "live" else None)
    targets = [] if undone or state == "absent" else [LIVE]
    assert rollback_targets(app_states(["shop"])["shop"]) == targets
    # The next deploy may try it again.
    assert app.marks()[1] == {}


ROLLED_BACK = "it was rolled back from"
GATE = {"app": "shop", "release": NEW, "host": "a.example"}


@pytest.mark.parametrize(
    ("name", "arguments", "healthy", "expected"),
    [
        ("switch", SWITCH, True, ("switched", NEW, LIVE, "")),
        ("switch", {**SWITCH, "release": LIVE}, True, None),
        ("switch", {**SWITCH, "bad": ROLLED_BACK}, True, ("rolled back", NEW, LIVE, "")),
        ("switch", {**SWITCH, "reason": "web2: no"}, True, ("went back", NEW, LIVE, "web2: no")),
        ("switch", SWITCH, False, ("went back", LIVE, NEW, "it answered 502")),
        (
            "switch",
            {**SWITCH, "release": OLD},
            False,
            ("did not pass", OLD, LIVE, "over its own socket, it answered 502"),
        ),
        (
            "switch",
            {**SWITCH, "release": LIVE, "state": "absent", "reason": "no"},
            True,
            ("went back", None, LIVE, "no"),
        ),
        ("health_check", {**GATE, "socket": "/a"}, True, None),
        ("health_check", {**GATE, "socket": "/a"}, False, ("did not pass", NEW, LIVE, "it answered 502")),
        (
            "health_check",
            {**GATE, "socket": "/a", "mark_bad": True},
            False,
            ("did not pass", NEW, LIVE, "it answered 502"),
        ),
        (
            "health_check",
            {**GATE, "socket": "/a", "nofile": 2**40},
            True,
            ("did not pass", NEW, LIVE, f"limits.nofile: {2**40} was asked for, and systemd gave "),
        ),
        ("health_check", GATE, False, None),
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_what_happens_is_in_the_log_of_rollouts(
    serving: Serving,
    app: App,
    run_module: RunModule,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    arguments: dict[str, t.Any],
    expected: tuple[str, str | None, str | None, str] | None,
    *,
    healthy: bool,
    check: bool,
) -> None:
    assert serving
    release_folder(app.root, OLD)
    app.point_current(LIVE)
    take(app, {"run": "r", "by": "eve@ci", "control": "ci", "pid": 1, "since": "then", "playbook": "rollback"})
    for module in (health_check, switch):
        answering(monkeypatch, module, Answer("" if healthy else "it answered 502", 200, "", NEW), healthy=healthy)
    run_module(name, arguments, check=check)
    found = events(app)
    if check or not expected:
        assert found == []
        return
    assert [(entry["event"], entry["release"], entry["before"]) for entry in found] == [expected[:3]]
    assert found[0]["reason"].startswith(expected[3])
    assert (found[0]["by"], found[0]["playbook"]) == ("eve@ci", "rollback")
    assert found[0]["seconds"] >= 0


def test_switch_survives_an_old_instance_that_was_removed_by_hand(
    programs: Programs, app: App, run_module: RunModule, monkeypatch: pytest.MonkeyPatch, units: Path
) -> None:
    app.point_current(LIVE)
    enable_units(units, app.socket_unit(LIVE))
    systemctl(programs, more='case "$1" in disable) exit 1 ;; esac')
    answering(monkeypatch, switch, Answer(), healthy=True)
    assert run_module("switch", SWITCH)["failed"] is False


def test_switch_to_what_runs_and_was_never_gated_gates_it_first(
    programs: Programs, app: App, run_module: RunModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was killed has left it, and a rollback by name may ask for it."""
    app.point_current(LIVE)
    (app.release(NEW) / "gated").unlink()
    systemctl(programs, both(NEW, "active disabled"))
    asked = answering(monkeypatch, switch, Answer("no answer"))
    assert run_module("switch", SWITCH)["failed"] is True
    assert [str(each["target"]) for each in asked] == [f"unix:{app.socket(NEW)}"]
    assert app.live() == LIVE


@pytest.mark.parametrize("verb", ["start", "enable"])
def test_switch_to_an_instance_that_systemd_refuses(
    programs: Programs, app: App, run_module: RunModule, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    app.point_current(LIVE)
    refused = f'case "$1" in {verb}) echo "no such unit" >&2; exit 1 ;; esac'
    systemctl(programs, both(NEW, "inactive disabled"), more=refused)
    answering(monkeypatch, switch, Answer("", 200, "", NEW), healthy=True)
    found = run_module("switch", SWITCH)
    reason = f"systemctl {verb} {'--quiet ' if verb == 'enable' else ''}{unit_names(NEW)}: no such unit"
    assert found["msg"] == f"app shop: cannot switch to {NEW}: {reason}"
    assert (found["changed"], app.live()) == (False, LIVE)


@pytest.mark.parametrize(("live", "after"), [(NEW, None), (LIVE, LIVE), (None, None)])
def test_switch_off(programs: Programs, app: App, run_module: RunModule, live: str | None, after: str | None) -> None:
    if live:
        app.point_current(live)
    systemctl(programs)
    found = run_module("switch", {**SWITCH, "state": "absent"})
    assert (found["failed"], found["changed"], found["live"]) == (False, live != after, after)
    assert app.live() == after


@pytest.mark.parametrize("before", [LIVE, NEW, None])
def test_switch_that_is_not_proven_goes_back(
    programs: Programs,
    app: App,
    run_module: RunModule,
    monkeypatch: pytest.MonkeyPatch,
    units: Path,
    before: str | None,
) -> None:
    if before:
        app.point_current(before)
    link = f'mkdir -p {units}/x.wants; for unit; do ln -s /dev/null "{units}/x.wants/$unit"; done'
    systemctl(programs, more=f'case "$1" in enable) (shift 2; {link}) ;; esac')
    programs.add("journalctl", "echo 'the last line'")
    answering(monkeypatch, switch, Answer("/healthz answered 502 instead of 200", 502, "", None))
    found = run_module("switch", SWITCH)
    assert (found["failed"], found["changed"], found["live"]) == (True, False, before)
    assert app.live() == before
    state = f"{before} is live again" if before else "nothing is live, as before"
    assert found["msg"] == (
        f"app shop: release {NEW} does not answer through https://shop.example.com:443: "
        f"/healthz answered 502 instead of 200\n{state}.\nLast lines of shop@{NEW}.service:\n  the last line"
    )
    # At boot only what is live comes up.
    enable, disable = (f"systemctl {verb} --quiet {unit_names(NEW)}" for verb in ("enable", "disable"))
    assert changes(programs) == ([enable] if before == NEW else [enable, disable])


def test_switch_goes_back_as_soon_as_the_new_release_has_been_wrong_often_enough(
    programs: Programs, app: App, run_module: RunModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.point_current(LIVE)
    systemctl(programs)
    asked = answering(monkeypatch, switch, Answer("", 200, "", NEW), healthy=True)
    run_module("switch", SWITCH)
    give_up = asked[0]["give_up"]
    # The release before, over a connection that was kept, may answer for as long as the proof may last.
    assert {give_up(Answer("was answered by another", 200, "", LIVE)) for _ in range(50)} == {""}
    wrong = [Answer("502", 502), Answer("503", 503, "", NEW)] * 5
    assert [give_up(answer) for answer in wrong] == [""] * 9 + ["503"]


def test_switch_in_check_mode(app: App, run_module: RunModule) -> None:
    app.point_current(LIVE)
    found = run_module("switch", SWITCH, check=True)
    assert (found["changed"], found["before"], found["live"]) == (True, LIVE, NEW)
    assert found["diff"] == {
        "before": f"{app.current} -> {LIVE}\n",
        "after": f"{app.current} -> {NEW}\n",
    }
    assert app.live() == LIVE


def test_switch_to_a_release_that_is_not_there(app: App, run_module: RunModule) -> None:
    app.point_current(LIVE)
    found = run_module("switch", {**SWITCH, "release": OLD})
    assert found["msg"] == f"app shop: there is no release {OLD} on this host; deploy it first"
    assert app.live() == LIVE


# -- retire ---------------------------------------------------------------------------------------------------------


def retiring(programs: Programs, app: App, units: dict[str, str]) -> None:
    release_folder(app.root, OLD)
    app.point_current(NEW)
    systemctl(programs, both(NEW, "active enabled") | units)
    programs.add("systemd-run")


def test_retire_hands_over_to_systemd(programs: Programs, app: App, run_module: RunModule, units: Path) -> None:
    retiring(programs, app, both(LIVE, "active disabled"))
    enable_units(units, *both(LIVE, ""))
    found = run_module("retire", {"app": "shop", "standby": 9, "keep": 2})
    assert (found["retired"], found["pruned"], found["changed"]) == ([LIVE], [OLD], True)
    assert app.complete() == [LIVE, NEW]
    disable, run = changes(programs)
    assert disable == f"systemctl disable --quiet {unit_names(LIVE)}"
    assert run.startswith(f"systemd-run --quiet --collect --unit=shop-retire-{LIVE} --on-active=9 ")
    # What systemd 252 would misread when it is reloaded.
    assert not set("$\"';\\") & set(run.partition("/bin/sh -c ")[2])


def timer_script(programs: Programs, app: App, run_module: RunModule) -> list[str]:
    """Return the command that the timer runs."""
    retiring(programs, app, both(LIVE, "active disabled"))
    programs.add("systemd-run", f'for word; do printf "%s\\0" "$word"; done > {app.root}/command')
    run_module("retire", {"app": "shop"})
    words = (app.root / "command").read_text().split("\0")[:-1]
    systemctl(programs, more="case $1 in reset-failed) exit 1 ;; esac")
    programs.log.unlink()
    return words[words.index("/bin/sh") :]


def test_the_timer_stops_the_old_instance_and_forgets_it(programs: Programs, app: App, run_module: RunModule) -> None:
    command = timer_script(programs, app, run_module)
    assert subprocess.run(command, check=False).returncode == 0
    assert programs.calls == [f"systemctl stop {unit_names(LIVE)}", f"systemctl reset-failed {unit_names(LIVE)}"]


def test_the_timer_spares_what_is_live_again(programs: Programs, app: App, run_module: RunModule) -> None:
    command = timer_script(programs, app, run_module)
    app.point_current(LIVE)
    assert subprocess.run(command, check=False).returncode == 0
    assert programs.calls == []


def test_retire_without_standby_stops_at_once(programs: Programs, app: App, run_module: RunModule) -> None:
    retiring(programs, app, both(LIVE, "active disabled"))
    assert run_module("retire", {"app": "shop", "standby": 0})["retired"] == [LIVE]
    # It is not enabled any more.
    assert changes(programs) == [f"systemctl {verb} {unit_names(LIVE)}" for verb in ("stop", "reset-failed")]


def test_retire_in_check_mode(programs: Programs, app: App, run_module: RunModule) -> None:
    retiring(programs, app, both(LIVE, "active disabled"))
    found = run_module("retire", {"app": "shop", "keep": 2}, check=True)
    assert (found["retired"], found["pruned"], found["changed"]) == ([LIVE], [OLD], True)
    assert app.complete() == [OLD, LIVE, NEW]
    assert changes(programs) == []


@pytest.mark.parametrize("dead", [True, False])
def test_retire_gives_back_the_lock_of_a_dead_run_and_leaves_that_of_a_living_one(
    programs: Programs, app: App, run_module: RunModule, *, dead: bool
) -> None:
    app.point_current(NEW)
    systemctl(programs)
    held = {"run": "alice", "by": "alice@laptop", "control": "laptop", "pid": 4711, "since": "today"}
    (app.root / ".rollout.json").write_text(json.dumps(held))
    found = run_module("retire", {"app": "shop", "lock": {**held, "run": "bob", "dead": ["alice"] if dead else []}})
    assert found["failed"] is not dead
    assert (app.root / ".rollout.json").exists() is not dead


def test_nothing_to_retire(programs: Programs, app: App, run_module: RunModule) -> None:
    retiring(programs, app, {})
    found = run_module("retire", {"app": "shop"})
    assert found == {"failed": False, "changed": False, "retired": [], "pruned": []}


def test_releases_that_run_are_not_pruned(programs: Programs, app: App, run_module: RunModule) -> None:
    retiring(programs, app, {f"shop@{OLD}.service": "deactivating disabled"})
    assert run_module("retire", {"app": "shop", "keep": 2})["pruned"] == [LIVE]
    assert app.complete() == [OLD, NEW]


def test_a_pruned_release_takes_its_unit_along(
    programs: Programs, app: App, run_module: RunModule, units: Path
) -> None:
    retiring(programs, app, {})
    for release in (OLD, LIVE):
        (units / f"shop@{release}.service.d").mkdir()
        (units / f"shop@{release}.service.d/credentials.conf").touch()
    assert run_module("retire", {"app": "shop", "keep": 2})["pruned"] == [OLD]
    assert [path.name for path in units.glob("*.d")] == [f"shop@{LIVE}.service.d"]


def test_retire_that_fails(programs: Programs, app: App, run_module: RunModule) -> None:
    retiring(programs, app, both(LIVE, "active disabled"))
    programs.add("systemd-run", "echo 'no bus' >&2; exit 1")
    assert run_module("retire", {"app": "shop"})["msg"] == "app shop: cannot retire old releases: no bus"


# -- release_command ------------------------------------------------------------------------------------------------


def command(programs: Programs, app: App, script: str) -> dict[str, t.Any]:
    folder = app.release(NEW) / "venv/bin"
    folder.mkdir(parents=True)
    (folder / "alembic").write_text("#!/bin/sh\n")
    (folder / "alembic").chmod(0o755)
    programs.add("systemd-run", script)
    return {
        "app": "shop",
        "release": NEW,
        "argv": ["alembic", "upgrade", "head"],
        "timeout": 9,
        "writable": ["/w", "/a"],
    }


def test_command_runs_as_the_app(programs: Programs, app: App, run_module: RunModule) -> None:
    found = run_module("release_command", command(programs, app, "echo one; echo two >&2"))
    assert found == {"failed": False, "changed": True, "lines": ["one", "two"]}
    call = programs.calls[0]
    folder = app.release(NEW)
    for part in (
        "--wait --pipe --collect",
        "--property=User=shop ",
        f"--property=WorkingDirectory={folder}/src ",
        f"--property=EnvironmentFile={folder}/env ",
        f"PATH={folder}/venv/bin:/usr/local/bin:/usr/bin:/bin PADDOCK_APP=shop PADDOCK_RELEASE={NEW} ",
        "--property=RuntimeMaxSec=9 ",
        "--property=ReadWritePaths=/w /a --property=SupplementaryGroups= ",
        "--property=PrivateTmp=yes ",
        "--property=ProtectHome=yes ",
    ):
        assert part in call
    assert call.endswith(f" {folder}/venv/bin/alembic upgrade head")
    assert "Credential" not in call


def test_command_has_the_credentials_of_its_release(programs: Programs, app: App, run_module: RunModule) -> None:
    give_credentials(app.release(NEW), "token")
    run_module("release_command", command(programs, app, ""))
    assert f" --property=LoadCredential=token:{app.release(NEW)}/credentials/token " in programs.calls[0]


def test_command_finds_the_files_that_the_app_does(programs: Programs, app: App, run_module: RunModule) -> None:
    sandbox = {"protect_home": False, "private_tmp": False, "supplementary_groups": ["b", "c"]}
    run_module("release_command", {**command(programs, app, ""), "sandbox": sandbox})
    for part in (
        "--property=PrivateTmp=no ",
        "--property=ProtectHome=no ",
        "--property=ReadWritePaths=/w /a --property=SupplementaryGroups=b c ",
    ):
        assert part in programs.calls[0]


def test_command_that_fails(programs: Programs, app: App, run_module: RunModule) -> None:
    arguments = command(programs, app, "echo 'unable to open database file'; exit 3")
    found = run_module("release_command", arguments)
    assert (found["failed"], found["rc"], found["lines"]) == (True, 3, ["unable to open database file"])
    assert found["msg"].splitlines()[0] == "app shop: 'alembic upgrade head' failed with exit code 3"
    assert found["msg"].splitlines()[1].startswith("Hint: SQLite cannot open its file")
    # By itself it is no rollout.
    assert events(app) == []
    take(app, {"run": "r", "by": "eve@ci", "control": "ci", "pid": 1, "since": "then"})
    run_module("release_command", arguments)
    reasons = [(entry["event"], entry["reason"]) for entry in events(app)]
    assert reasons == [("failed", "'alembic upgrade head' failed with exit code 3")]


def test_command_that_is_not_there(programs: Programs, app: App, run_module: RunModule) -> None:
    arguments = command(programs, app, "")
    found = run_module("release_command", {**arguments, "argv": ["alembik"]})
    assert found["msg"] == (
        "app shop: there is no command 'alembik' in the release; is the package that has it in the requirements?"
    )
    assert programs.calls == []


def test_command_is_taken_word_by_word(programs: Programs, app: App, run_module: RunModule) -> None:
    script = app.release(NEW) / "src/bin/migrate"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    arguments = command(programs, app, "true")
    assert run_module("release_command", {**arguments, "argv": ["./bin/migrate", "$HOME"]})["failed"] is False
    assert programs.calls[0].endswith(f" {app.release(NEW)}/src/bin/migrate $$HOME")


def test_command_in_check_mode(programs: Programs, app: App, run_module: RunModule) -> None:
    assert run_module("release_command", command(programs, app, ""), check=True) == {"failed": False, "changed": True}
    assert programs.calls == []


# -- remove ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def deployed(app: App, units: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a host on which the app lies, beside another whose name begins as its does."""
    for name, folder in (("TLS_ROOT", "tls"), ("NGINX_ROOT", "nginx/paddock")):
        (tmp_path / folder).mkdir(parents=True)
        monkeypatch.setattr(remove, name, str(tmp_path / folder))
    monkeypatch.setattr(remove, "UNITS", units)
    monkeypatch.setattr(_nginx, "ROOT", tmp_path / "nginx")
    monkeypatch.setattr(App, "of", lambda _name: app)
    app.point_current(LIVE)
    (app.root / "shared").mkdir()
    (app.root / "shared/notes.db").touch()
    record(app, "switched", release=LIVE, before=None, warn=print)
    enable_units(units, *both(LIVE, ""), f"shop-2@{LIVE}.service")
    drop_in = f"@{LIVE}.service.d/credentials.conf"
    for name in ("shop@.service", "shop@.socket", "shop-guard@.service", "shop-2@.service"):
        (units / name).write_text("# (paddock.fastapi, role service)\n")
    for name in ("shop", "shop-2"):
        (units / f"{name}{drop_in}").parent.mkdir()
        (units / f"{name}{drop_in}").touch()
    for name in ("tls/shop.crt", "tls/shop.key", "tls/shop-2.crt"):
        (tmp_path / name).touch()
    for name in ("shop.users", "shop.0a1b2c3d.users", "shop-2.users"):
        (tmp_path / "nginx/paddock" / name).touch()
    return tmp_path


LEFT = {
    "units/shop-2@.service",
    f"units/shop-2@{LIVE}.service.d/credentials.conf",
    "tls/shop-2.crt",
    "nginx/paddock/shop-2.users",
}


def lying(folder: Path, app: App) -> set[str]:
    """Return the files on the host, but for links that have systemd start something."""
    found = {path for place in ("units", "tls", "nginx") for path in (folder / place).rglob("*") if path.is_file()}
    return {str(path.relative_to(folder)) for path in found if ".wants" not in str(path)} | {
        path.name for path in (app.root.iterdir() if app.root.exists() else ())
    }


@pytest.mark.parametrize("purge", [False, True])
def test_remove(programs: Programs, app: App, deployed: Path, run_module: RunModule, *, purge: bool) -> None:
    guard, timer = f"shop-guard@{OLD}.service", f"shop-retire-{OLD}.timer"
    systemctl(programs, {**both(NEW, "active disabled"), guard: "failed disabled", timer: "active disabled"})
    arguments = {"app": "shop", "purge": purge}
    checked = run_module("remove", arguments, check=True)
    assert "shop@.service" in str(lying(deployed, app))
    found = run_module("remove", arguments)
    assert found == checked
    assert found["stopped"] == sorted([*both(NEW, ""), *both(LIVE, ""), guard, timer])
    assert lying(deployed, app) == LEFT | (set() if purge else {"shared", "rollouts.jsonl"})
    assert changes(programs)[:2] == [
        f"systemctl disable --quiet --now {' '.join(found['stopped'])}",
        "systemctl daemon-reload",
    ]


def test_remove_twice(programs: Programs, deployed: Path, run_module: RunModule) -> None:
    systemctl(programs, more=f"case $1 in disable) rm {deployed}/units/*.wants/shop@* ;; esac")
    assert run_module("remove", {"app": "shop"})["changed"] is True
    found = run_module("remove", {"app": "shop"})
    assert (found["changed"], found["stopped"], found["deleted"]) == (False, [], [])


def test_remove_what_nginx_still_serves(programs: Programs, app: App, deployed: Path, run_module: RunModule) -> None:
    systemctl(programs)
    write_files(deployed, {"nginx/conf.d/shop.conf": "# (paddock.fastapi, role nginx)\n"})
    assert "NGINX still knows it" in run_module("remove", {"app": "shop"})["msg"]
    assert app.live() == LIVE


def test_remove_what_is_being_rolled_out(programs: Programs, app: App, deployed: Path, run_module: RunModule) -> None:
    assert deployed
    systemctl(programs)
    lock = {"run": "r", "by": "ops", "control": "c", "pid": 1, "since": "now"}
    (app.root / ".rollout.json").write_text(json.dumps(lock))
    assert "ops (process 1 there) is rolling it out since now" in run_module("remove", {"app": "shop"})["msg"]


def test_remove_beside_what_somebody_else_has_told_nginx(
    programs: Programs, app: App, deployed: Path, run_module: RunModule
) -> None:
    systemctl(programs)
    write_files(deployed, {"nginx/conf.d/shop.conf": "theirs\n"})
    assert run_module("remove", {"app": "shop"})["changed"] is True
    assert lying(deployed, app) == {*LEFT, "nginx/conf.d/shop.conf", "shared", "rollouts.jsonl"}


@pytest.mark.parametrize("purge", [False, True])
def test_remove_what_never_was_an_app(programs: Programs, srv: Path, run_module: RunModule, *, purge: bool) -> None:
    systemctl(programs)
    write_files(srv, {"git/project.git/HEAD": ""})
    found = run_module("remove", {"app": "git", "purge": purge})
    assert found["msg"] == (f"app git: {srv}/git on this host is somebody else's, not an app's; nothing was removed")
    assert (srv / "git/project.git/HEAD").exists()


def test_remove_something_else(run_module: RunModule) -> None:
    assert run_module("remove", {"app": "../etc"})["msg"] == "'../etc' is no name that an app can have"
