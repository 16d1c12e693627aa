# Copyright (c) 2026, paddock.fastapi contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Any sequence of rollouts, failures, kills, crashes and reboots, with the real modules on a real folder.

Only what is not the collection's own is played: systemd, what the app answers, and the steps of a build.
"""

from __future__ import annotations

import fnmatch
import grp
import itertools
import os
import shutil
import subprocess
import time
import typing as t
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import pytest
from ansible_collections.paddock.fastapi.plugins.action.pack import _check_marks
from ansible_collections.paddock.fastapi.plugins.module_utils import _host, _instance
from ansible_collections.paddock.fastapi.plugins.module_utils._audit import events
from ansible_collections.paddock.fastapi.plugins.module_utils._build import Build
from ansible_collections.paddock.fastapi.plugins.module_utils._layout import (
    App,
    NoTargetError,
    digest_of,
    pending,
    release_id,
    rollback_target,
    rollback_targets,
)
from ansible_collections.paddock.fastapi.plugins.module_utils._probe import Answer
from ansible_collections.paddock.fastapi.plugins.module_utils._settings import SettingsError
from ansible_collections.paddock.fastapi.plugins.modules import health_check, instance, retire, switch
from ansible_collections.paddock.fastapi.tests.unit.helpers import AS_ROOT, Exit, Programs, enable_units
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

KEEP = 3
DIGESTS = ["a" * 12, "b" * 12, "c" * 12, "d" * 12, "e" * 12]
# Mostly all is well, or there is little to go back to.
WELL = st.sampled_from([True, True, True, False])
# When a run is killed, if it is.
KILLED = st.sampled_from([None, None, None, None, None, "build", "start", "gate", "proof", "switch"])
UNITS = {"@.service": "[Service]\n", "@.socket": "[Socket]\n"}


class Killed(BaseException):
    """The control node is gone, or the module's process."""


class Systemd:
    """As much of systemd as rollouts ask for; what comes up at boot is in links, as everywhere."""

    def __init__(self, units: Path) -> None:
        self.units = units
        self.pids = itertools.count(100)
        self.active: dict[str, int] = {}
        self.timers: dict[str, list[str]] = {}

    def enabled(self, unit: str) -> bool:
        return any(self.units.glob(f"*.wants/{unit}"))

    def run(self, command: list[str], **_options: t.Any) -> subprocess.CompletedProcess[str]:
        """Stand in for subprocess.run."""
        program, *rest = command
        output = ""
        if program == "systemd-run":
            name = next(word for word in rest if word.startswith("--unit=")).removeprefix("--unit=")
            self.timers[f"{name}.timer"] = rest[rest.index("/bin/sh") :]
        elif program == "systemctl":
            verb, words = rest[0], [word for word in rest[1:] if not word.startswith("--")]
            output = self.show(words) if verb == "show" else ""
            self.change(verb, words, now="--now" in rest)
        else:
            assert program == "journalctl"
        return subprocess.CompletedProcess(command, 0, output, "")

    def show(self, patterns: list[str]) -> str:
        loaded = {*self.active, *self.timers}
        names = [unit for word in patterns for unit in (fnmatch.filter(loaded, word) if "*" in word else [word])]
        return "\n".join(
            f"Id={unit}\nActiveState={'active' if unit in loaded else 'inactive'}\nMainPID={self.active.get(unit, 0)}\n"
            f"UnitFileState={'enabled' if self.enabled(unit) else 'disabled'}\nNRestarts=0\n"
            for unit in names
        )

    def change(self, verb: str, words: list[str], *, now: bool = False) -> None:
        if verb == "start":
            self.active |= {unit: next(self.pids) for unit in words if unit not in self.active}
        if verb == "stop" or now:
            for unit in words:
                self.active.pop(unit, None)
                self.timers.pop(unit, None)
        if verb == "disable":
            for link in [link for unit in words for link in self.units.glob(f"*.wants/{unit}")]:
                link.unlink()
        if verb == "enable":
            enable_units(self.units, *(unit for unit in words if not self.enabled(unit)))


class QuickBuild(Build):
    """A build of nothing: what it clears first, and what it leaves, is as ever."""

    def _check_disk(self) -> None:
        pass

    def _unpack(self) -> None:
        (self.folder / "src").mkdir(parents=True)

    def _make_environment(self) -> None:
        self.venv.mkdir()

    def _compile(self) -> None:
        pass


class Rollouts(RuleBasedStateMachine):
    """What happens to one app on one host. The model knows what was live, what passed its gate, and what is bad."""

    def __init__(self, folder: Path, programs: Programs, patch: pytest.MonkeyPatch) -> None:
        super().__init__()
        for name in ("srv", "units"):
            shutil.rmtree(folder / name, ignore_errors=True)
        self.app = App("shop", folder / "srv/shop")
        self.app.releases.mkdir(parents=True)
        self.systemd = Systemd(folder / "units")
        self.systemd.units.mkdir()
        self.programs = programs
        self.stamps = itertools.count(1)
        self.run = subprocess.run
        # The model.
        self.live: str | None = None
        self.were_live: list[str] = []
        self.bad: set[str] = set()
        self.passed: dict[str, int] = {}
        self.gate = self.proof = self.dies = False
        # Whether the log of rollouts says what is live: a call that was killed wrote nothing.
        self.told = True
        patch.setattr(subprocess, "run", self.systemd.run)
        patch.setattr(App, "of", lambda _name, _root=None: self.app)
        for module in (_host, _instance):
            patch.setattr(module, "UNITS", self.systemd.units)
        for module in (health_check, switch):
            patch.setattr(module, "until_healthy", self.answer)

    def teardown(self) -> None:
        subprocess.run = self.run

    # -- what is played ---------------------------------------------------------------------------------------------

    def pid(self, release: str) -> int:
        return self.systemd.active.get(self.app.service_unit(release), 0)

    def answer(self, target: t.Any, expected: t.Any, **_options: t.Any) -> tuple[bool, int, Answer]:
        """Answer a probe, and check what may have got it."""
        release = expected.release
        assert self.pid(release), "what does not run was asked"
        if target.socket:
            if self.gate:
                self.passed[release] = self.pid(release)
            return self.gate, 1, Answer("" if self.gate else "it answered 500", 200, "", release)
        assert self.app.live() == release
        passed = release in self.were_live or self.passed.get(release) == self.pid(release)
        assert passed, "traffic came to what has passed no gate"
        if self.dies:
            raise Killed
        return self.proof, 1, Answer("" if self.proof else "it answered 502", 502, "", release)

    def call(self, module: t.Any, **arguments: t.Any) -> dict[str, t.Any]:
        """Run a module as Ansible does, without its start-up."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "AnsibleModule", Module.having(arguments))
            with pytest.raises(Exit) as ended:
                module.main()
        return ended.value.result

    # -- the playbooks ----------------------------------------------------------------------------------------------

    def state(self) -> dict[str, t.Any]:
        return _host.app_states(["shop"])["shop"]

    def build(self, release: str) -> None:
        file = self.app.root / "file"
        file.touch()
        QuickBuild(
            app=self.app,
            release=release,
            archive=file,
            environment=file,
            credentials=file,
            added_requirements=[file],
            group=os.getgid(),
            uv="uv",
            cache=self.app.root / "cache",
            python="python3",
            install={},
            index_url=None,
            extra_index_url=None,
            metadata={"source": "test"},
        ).run()

    def start(self, release: str, *, units: dict[str, str], mark_bad: bool) -> bool:
        """Start an instance and gate it; drop it if it does not pass."""
        started = self.call(instance, app="shop", release=release, units=units)
        assert not started["failed"]
        socket = str(self.app.socket(release))
        if not self.call(health_check, app="shop", release=release, socket=socket, host="a", mark_bad=mark_bad)[
            "failed"
        ]:
            return True
        self.bad |= {release} if mark_bad else set()
        if release != self.live:
            assert not self.call(instance, app="shop", release=release, state="absent")["failed"]
        return False

    def switch(self, release: str, *, bad: str | None = None, killed: bool = False) -> None:
        """Switch, and retire what is no longer live, as both playbooks do."""
        before, gated = self.live, self.passed.get(release)
        may_go = release in self.were_live or gated == self.pid(release) or not self.pid(release) or self.gate
        try:
            result = self.call(switch, app="shop", release=release, host="a", bad=bad)
        except Killed:
            self.live, self.told = release, self.told and before == release
            raise
        logged = events(self.app)
        if (
            logged
            and logged[-1]["event"] in {"switched", "rolled back", "went back"}
            and result.get("before") != release
        ):
            self.told = True
        if not result["failed"]:
            assert may_go, "it was switched to what had ended since its gate"
            self.live = release
            self.were_live = [*(each for each in self.were_live if each != release), release]
            self.bad.discard(release)
            self.bad |= {before} if before and bad and before != release else set()
        elif "ended after it had passed the gate" in result["msg"]:
            assert gated != self.pid(release), "it had not ended"
            self.bad.add(release)
        else:
            assert not (self.gate and self.proof), result["msg"]
        if not killed:
            self.retire()

    def retire(self) -> None:
        before = {*self.app.complete()}
        spared = {self.live, *self.state()["up"]}
        assert not self.call(retire, app="shop", keep=KEEP)["failed"]
        state = self.state()
        assert state["stale"] == [], "an instance would run for ever"
        left = {*state["releases"]}
        assert left <= before
        assert spared & before <= left, "what is live or runs was deleted"
        assert len(left) <= max(KEEP, len(spared & before))
        # What can be gone back to outlasts what is bad.
        assert not (before - left - self.bad) or not (left & self.bad) - spared

    # -- what happens -----------------------------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        """Begin with nothing, or not: an app has at least one release as soon as anything can go wrong."""
        self.deploy(DIGESTS[0], gate=True, proof=True, killed=None, force=False, crashes=False)
        assert self.live

    @rule(
        digest=st.sampled_from(DIGESTS),
        gate=WELL,
        proof=WELL,
        killed=KILLED,
        force=st.booleans(),
        crashes=WELL.map(lambda well: not well),
    )
    def deploy(self, digest: str, *, gate: bool, proof: bool, killed: str | None, force: bool, crashes: bool) -> None:
        """Deploy what has this digest. crashes: its server ends after it has passed the gate, and before the switch."""
        self.gate, self.proof, self.dies = gate, proof, killed == "proof"
        stamp = f"20261122T{next(self.stamps):06}Z"
        todo = pending(
            [{"name": "shop", "digest": digest, "release": release_id(stamp, digest)}], {"shop": self.state()}
        )
        if not todo:
            assert self.live
            assert digest_of(self.live) == digest
            self.retire()
            return
        release = todo[0]["release"]
        if not force:
            try:
                _check_marks(todo)
            except SettingsError:
                assert release in self.bad
                return
            assert release not in self.bad - {self.live}
        try:
            if not todo[0]["built"]:
                if killed == "build":
                    (self.app.release(release) / "src").mkdir(parents=True)
                    return
                self.build(release)
                assert self.app.unfinished() == []
            if killed == "start":
                self.call(instance, app="shop", release=release, units=UNITS)
                return
            if self.start(release, units=UNITS, mark_bad=True) and killed != "gate":
                if crashes:
                    self.systemd.active[self.app.service_unit(release)] = next(self.systemd.pids)
                self.switch(release, killed=killed == "switch")
        except Killed:
            return

    @rule(data=st.data(), gate=WELL, proof=WELL, named=st.booleans())
    def rollback(self, data: st.DataObject, *, gate: bool, proof: bool, named: bool) -> None:
        self.gate, self.proof, self.dies = gate, proof, False
        state = self.state()
        wanted = data.draw(st.sampled_from(state["releases"])) if named else None
        try:
            release = rollback_target("shop", state, wanted)
        except NoTargetError:
            assert wanted == self.live or wanted in self.bad if wanted else not self.targets()
            return
        assert release == (wanted or self.targets()[0])
        assert release not in {*self.bad, self.live}
        before = self.live
        if release in state["warm"] or self.start(release, units={}, mark_bad=False):
            self.switch(release, bad="it was rolled back from")
        if gate and proof and self.live == release:
            assert before in self.bad

    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        """End a server, which systemd starts again."""
        services = sorted(unit for unit in self.systemd.active if unit.endswith(".service"))
        if services:
            self.systemd.active[data.draw(st.sampled_from(services))] = next(self.systemd.pids)

    @precondition(lambda self: self.systemd.timers)
    @rule(data=st.data())
    def time_is_over(self, data: st.DataObject) -> None:
        """Have a timer run what it was given."""
        script = self.systemd.timers.pop(data.draw(st.sampled_from(sorted(self.systemd.timers))))
        self.run(script, check=True)
        for call in self.programs.calls:
            _program, verb, *words = call.split()
            self.systemd.change(verb, words)
        self.programs.log.unlink(missing_ok=True)

    @rule()
    def reboot(self) -> None:
        self.systemd.timers.clear()
        self.systemd.active = {
            path.name: next(self.systemd.pids) for path in sorted(self.systemd.units.glob("*.wants/*"))
        }

    # -- what always holds ------------------------------------------------------------------------------------------

    def targets(self) -> list[str]:
        """Say what can be gone back to: what was live before, the last first, if it lies there and is not bad."""
        there = self.app.complete()
        return [
            each for each in reversed(self.were_live) if each in there and each not in self.bad and each != self.live
        ]

    @invariant()
    def what_is_live_passed_its_gate_and_comes_up_at_boot(self) -> None:
        assert self.app.live() == self.live
        if self.live:
            assert self.live in self.passed
            assert (self.app.current / "release.json").is_file()
            assert all(self.systemd.enabled(unit) for unit in _instance.Instance(self.app, self.live).units)
            assert self.pid(self.live), "the live instance was stopped"

    @invariant()
    def the_log_says_what_is_live(self) -> None:
        moves = [entry for entry in events(self.app) if entry["event"] in {"switched", "rolled back", "went back"}]
        assert not self.told or [entry["release"] for entry in moves][-1:] == ([self.live] if self.live else [])

    @invariant()
    def a_rollback_returns_to_what_was_live_before(self) -> None:
        state = self.state()
        assert rollback_targets(state) == self.targets()
        assert {*state["bad"]} == self.bad & {*state["releases"]}
        assert {*state["up"]} <= {*state["releases"]}, "what runs was deleted"


class Module:
    """AnsibleModule, as far as modules that run here need it."""

    check_mode = False

    def __init__(self, arguments: dict[str, t.Any], spec: dict[str, dict[str, t.Any]]) -> None:
        assert set(arguments) <= set(spec)
        self.params = {name: arguments.get(name, entry.get("default")) for name, entry in spec.items()}

    @classmethod
    def having(cls, arguments: dict[str, t.Any]) -> Callable[..., Module]:
        return lambda argument_spec, **_rest: cls(arguments, argument_spec)

    def exit_json(self, **result: t.Any) -> t.NoReturn:
        raise Exit({"failed": False, **result})

    def fail_json(self, **result: t.Any) -> t.NoReturn:
        raise Exit({**result, "failed": True})

    def warn(self, text: str) -> t.NoReturn:
        raise AssertionError(text)


def test_any_sequence_of_rollouts(tmp_path: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    programs.add("systemctl")
    group = 12345 if AS_ROOT else os.getgid()
    monkeypatch.setattr(grp, "getgrnam", lambda name: grp.struct_group((name, "x", group, [])))
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    # Two events never have one time.
    clock = itertools.count(1_900_000_000)
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    run_state_machine_as_test(
        lambda: Rollouts(tmp_path, programs, monkeypatch),  # type: ignore[arg-type]
        settings=settings(stateful_step_count=25),
    )
